"""``treadle capacity``: the edge is found where it is, and a real server is measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models
from treadle.platform import capacity
from treadle.serving.open_loop import Offered


def scripted(most: float, slow_from: float) -> list[capacity.Point]:
    """The curve of a server that answers ``most`` requests a second, slowly from ``slow_from``."""

    def measure(rate: float) -> Offered:
        answered = min(rate, most)
        return Offered(answered, rate - answered, 1.0, 100.0 if rate > slow_from else 5.0)

    return capacity._curve(measure, 20.0, lambda *_: None)


@pytest.mark.parametrize(
    ("most", "slow_from"), [(1000, 1e9), (1e9, 1000), (130, 1e9), (1e9, 66_000)]
)
def test_the_edge_is_found_within_a_sixteenth(most: float, slow_from: float) -> None:
    edge = min(most / capacity.KEPT, slow_from)
    best = max(point.offered_per_second for point in scripted(most, slow_from) if point.within)
    assert edge * (1 - 1 / 16) * 0.97 <= best <= edge


def test_a_server_that_is_always_too_slow_takes_nothing() -> None:
    assert not any(point.within for point in scripted(1e9, 1.0))


def test_a_real_server_is_measured_and_planned_for(tmp_path: Path) -> None:
    folder = models.save(tmp_path / "trees", models.trees())
    code = (
        "import sys\nfrom treadle.platform import capacity\n"
        "capacity.STEP_SECONDS, capacity.MOST_RATE = 0.3, 400.0\n"
        f"sys.argv = ['treadle', 'capacity', {str(folder)!r}, '--p99', '500', '--rate', '4000']\n"
        "sys.argv += ['--price', '0.1', '--json']\n"
        "from treadle.cli.main import main\nmain()\n"
    )
    script = tmp_path / "run.py"  # worker processes import the script again
    script.write_text(
        "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in code.splitlines())
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["per_replica"] > 100
    assert found["replicas"] == -(-4000 // (found["per_replica"] * capacity.ROOM))
    assert found["monthly_cost"] == pytest.approx(found["replicas"] * 73)
    assert all(point["p50_ms"] <= point["p99_ms"] for point in found["curve"])
