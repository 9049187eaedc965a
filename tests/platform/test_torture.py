"""Nothing that was acknowledged is lost, whatever happens to a home: a minute of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("TREADLE_TORTURE_SECONDS", "60"))
PROGRAM = Path(__file__).parents[2] / "benchmarks" / "torture.py"


@pytest.mark.timeout(int(SECONDS) + 900)
def test_a_tortured_home_loses_nothing_and_has_nothing_twice() -> None:
    asked = ["--seconds", str(SECONDS), "--seed", "2"]
    paths = [*sys.path[:1], str(PROGRAM.parents[1] / "src"), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), *asked],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    assert ran.stdout, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    assert (told["lost"], told["twice"], told["failures"]) == ({}, {}, []), told
    assert ran.returncode == 0
    assert sum(told["done"].values()) > SECONDS / 12
