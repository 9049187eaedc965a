"""What a server has acknowledged is there, once, whatever happens to it."""

import multiprocessing
import os
import signal
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import pytest

from tests.platform.test_up import PATIENCE_SECONDS, up
from treadle.kernel.process import holder
from treadle.platform.start import embedded

PROCESSES, POINTS_EACH, AT_ONCE = 10, 20_000, 100


def log_points(url: str, run: str, key: str, done: Event) -> None:
    """Log a series batch by batch; each one is sent again until it is acknowledged."""
    deadline = time.monotonic() + 4 * PATIENCE_SECONDS
    with httpx.Client(base_url=url, timeout=20) as client:
        for start in range(0, POINTS_EACH, AT_ONCE):
            metrics = [
                {"key": key, "value": step / 2, "timestamp": step, "step": step}
                for step in range(start, start + AT_ONCE)
            ]
            while time.monotonic() < deadline:
                try:
                    answer = client.post(
                        "/api/2.0/mlflow/runs/log-batch", json={"run_id": run, "metrics": metrics}
                    )
                    if answer.status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.05)
            else:
                os._exit(1)
            if start >= POINTS_EACH // 3:
                done.set()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_killed_server_loses_no_acknowledged_point_and_has_each_once(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    given = (
        ["--database", request.getfixturevalue("postgres_url")] if database == "postgresql" else []
    )
    home = tmp_path / "home"
    with up(home, *given) as url:
        made = httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()
        run = made["run"]["info"]["run_id"]
        spawn = multiprocessing.get_context("spawn")
        halfway = spawn.Event()
        senders = [
            spawn.Process(target=log_points, args=(url, run, f"k{n}", halfway))
            for n in range(PROCESSES)
        ]
        for sender in senders:
            sender.start()
        assert halfway.wait(2 * PATIENCE_SECONDS)
        server = holder(home / "run" / "server.lock")
        assert server is not None
        os.kill(server, signal.SIGKILL)
        for sender in senders:
            sender.join(4 * PATIENCE_SECONDS)
        assert [sender.exitcode for sender in senders] == [0] * PROCESSES
        for n in range(PROCESSES):
            found = httpx.get(
                f"{url}/api/2.0/mlflow/metrics/get-history",
                params={"run_id": run, "metric_key": f"k{n}"},
                timeout=60,
            ).json()["metrics"]
            steps = Counter(point["step"] for point in found)
            assert steps == Counter(range(POINTS_EACH))
            assert all(point["value"] == point["step"] / 2 for point in found)


def test_many_processes_write_one_home_without_a_server(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with embedded(home) as platform:
        run = platform.tracking.start_run(experiment="e").id
        spawn = multiprocessing.get_context("spawn")
        writers = [spawn.Process(target=write_embedded, args=(home, run, n)) for n in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(2 * PATIENCE_SECONDS)
        assert [writer.exitcode for writer in writers] == [0] * 4
        found = Counter(point.step for point in platform.tracking.history(run=run, key="loss"))
        assert found == Counter(dict.fromkeys(range(200), 4))


def write_embedded(home: str, run: str, number: int) -> None:
    from treadle.tracking.model import Metric

    with embedded(home) as platform:
        for step in range(200):
            platform.tracking.log(
                run=run, metrics=[Metric(key="loss", value=float(number), step=step)]
            )
