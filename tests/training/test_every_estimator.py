"""scikit-learn's estimators are packaged in some way or refused with a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "packaging_ways.py"
WAYS = {"ONNX", "ONNX in double precision", "skops", "its own library"}


def test_each_estimator_is_packaged_or_refused_with_a_sentence() -> None:
    """Every ninth of them; all of them where simulations run at full length."""
    whole = int(os.environ.get("TREADLE_SIMULATED_TIMES", "1")) > 1
    command = [sys.executable, str(PROGRAM), "--every", "1" if whole else "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) >= (3 * 80 if whole else 3 * 9)
    for line in lines:
        assert line["way"] in WAYS | {"refused", "not fitted"}, line
        if line["way"] == "refused":
            assert line["reason"].rstrip(".").count(" ") > 3, line
            assert "Traceback" not in line["reason"]
    packaged = [line for line in lines if line["way"] in WAYS]
    graphs = [line for line in packaged if line["way"].startswith("ONNX")]
    assert len(packaged) >= 0.9 * len(lines)
    assert len(graphs) >= 0.7 * len(lines)
