"""A stock MLflow server and ours answer a random walk of calls alike, but for what is listed."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http.mlflow_clients.differential import Walk, deliberate
from tests.http.mlflow_clients.test_walk import ROOT, interpreter
from tests.platform.test_platforms import served
from treadle.platform.start import embedded

CALLS = 350 * int(os.environ.get("TREADLE_SIMULATED_TIMES", "1"))
LEAST_SHARE_THAT_SUCCEEDS = 0.25


@contextmanager
def stock(release: int, folder: Path) -> Iterator[str]:
    """A stock MLflow server over SQLite; gives its URL."""
    script = Path(__file__).with_name("stock_server.py")
    server = subprocess.Popen(
        [interpreter(f"mlflow{release}"), script, folder],
        env=os.environ | {"PYTHONPATH": str(ROOT / ".clients" / "mlflow-server")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()


@pytest.mark.parametrize("release", [2, 3])
def test_a_random_walk_finds_only_the_differences_that_are_listed(
    release: int, tmp_path: Path
) -> None:
    with (
        stock(release, tmp_path) as theirs,
        embedded(tmp_path / "home") as home,
        served(home) as ours,
    ):
        walk = Walk(theirs, ours, release, seed=release)
        found = list(walk.steps(CALLS))
    left = Counter(one.kind for one in found if not deliberate(one))
    print(
        f"MLflow {release}.x: {walk.calls} calls of {len(walk.routes)} routes, "
        f"{len(found)} deliberate differences, {sum(left.values())} others"
    )
    assert walk.statuses[200] > LEAST_SHARE_THAT_SUCCEEDS * walk.calls
    assert left == {}, [one for one in found if not deliberate(one)][:3]
