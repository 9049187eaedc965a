"""Callers that are slow, huge, or read nothing leave the others their answers: a short measure.

`benchmarks/bench_rude_callers.py` holds to twice the latency on a quiet machine; here only what
no load explains is a failure.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "bench_rude_callers.py"
MOST_MS = 5_000.0


@pytest.mark.xfail(
    reason="declared gap: answers that nobody reads still hold others up for seconds",
    strict=False,
)
@pytest.mark.timeout(600)
def test_rude_callers_cost_the_others_no_answer() -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), "--seconds", "4", "--factor", "1e9"],
        capture_output=True,
        text=True,
    )
    assert ran.stdout, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert told["wrong"] == []
    for kind, during in told["during"].items():
        for name in ("server", "model server"):
            assert during[name]["p99"] < MOST_MS, (kind, name, during[name])
