"""``treadle up`` with real processes: quick to be ready, hard to kill, clean to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import models
from tests.backends.test_blobs import s3_endpoint  # noqa: F401 - a fixture
from treadle.kernel.clock import SystemClock
from treadle.kernel.errors import TreadleError
from treadle.kernel.process import holder
from treadle.platform.remote import Remote, connect
from treadle.platform.settings import settings_for
from treadle.platform.stages import Services
from treadle.platform.wiring import Embedded
from treadle.scope.file import read
from treadle.serving.log_files import InferenceLogs
from treadle.testing.executor import gone
from treadle.tracking.model import Metric

PATIENCE_SECONDS = 60.0

PROJECT = """
[project]
name = "p"

[data.rows]
source = "rows.csv"
label = "y"

[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.5
"""

PIPELINE = """
import time
from pathlib import Path

import pandas as pd
import treadle
from tests import models
from tests.backends.test_blobs import s3_endpoint  # noqa: F401 - a fixture

@treadle.step
def slow(rows: Path, turn: int = 0) -> list[int]:
    time.sleep(1.5)
    return [turn]

@treadle.step
def slower(slow: list[int]) -> list[int]:
    time.sleep(1.5)
    return slow

@treadle.step
def holdout(slower: list[int]) -> pd.DataFrame:
    return models.rows(seed=1)

@treadle.step
def model(slower: list[int]) -> treadle.Model:
    return treadle.Model(models.trees(), models.rows()[models.INPUTS])
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    (project / "treadle.toml").write_text(PROJECT)
    (project / "pipeline.py").write_text(PIPELINE)
    models.rows().to_csv(project / "rows.csv", index=False)
    return project / ".treadle"


@contextmanager
def up(home: Path, *arguments: str, port: int = 0) -> Iterator[str]:
    """A running ``treadle up``; gives its URL, and stops whichever supervisor runs in the end."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "treadle",
        "up",
        "--home",
        str(home),
        "--port",
        str(port),
        *arguments,
    ]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: answers(url), "the server answers")
        yield url
    finally:
        supervisor = holder(home / "run" / "supervisor.lock")
        if supervisor is not None:
            os.kill(supervisor, signal.SIGTERM)
            eventually(
                lambda: holder(home / "run" / "supervisor.lock") is None, "the supervisor stops"
            )
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").text == "OK"
    except httpx.TransportError:
        return False


def eventually(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Writer(threading.Thread):
    """Writes one metric after the other and remembers which were acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.services = connect(url)
        self.run_id = self.services.tracking.start_run(project="p").id
        self.acknowledged: list[int] = []
        self.done = threading.Event()

    def run(self) -> None:
        step = 0
        while not self.done.wait(0.01):
            step += 1
            try:
                self.services.tracking.log(
                    run=self.run_id, metrics=[Metric(key="x", value=float(step), step=step)]
                )
            except TreadleError:
                continue
            self.acknowledged.append(step)


class Asker(threading.Thread):
    """Asks one endpoint again and again and remembers which requests were answered."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.answered, self.done = url, list[str](), threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        number = 0
        row = {"colour": "red", "size": 1.0, "weight": 0.0}
        while not self.done.wait(0.005):
            number += 1
            try:
                answer = httpx.post(
                    f"{self.url}/invocations",
                    json={"dataframe_records": [row]},
                    headers={"X-Request-Id": f"r{number}"},
                )
            except httpx.TransportError as error:
                self.failed.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered.append(f"r{number}")
            else:
                self.failed.append(answer.text)


def declare(home: Path) -> None:
    with Embedded(settings_for(home)) as platform:
        platform.scope.declare_in(spec=read(home.parent), folder=str(home.parent))


def settled(services: Services, run: str) -> bool:
    return services.training.get(run=run).state != "running"


def test_it_is_ready_within_two_seconds_and_stops_with_nothing_left(home: Path) -> None:
    started = time.monotonic()
    with up(home) as url:
        seconds = time.monotonic() - started
        pids = [
            holder(home / "run" / f"{name}.lock") for name in ("server", "worker", "supervisor")
        ]
        assert httpx.get(f"{url}/api/openapi.json").json()["info"]["title"] == "Treadle"
    assert gone([pid for pid in pids if pid])
    assert not list((home / "blobs").rglob(".*"))
    assert seconds < 10, "two seconds on a machine of one's own; ten where others work too"


def test_one_process_at_a_time_has_a_home(home: Path) -> None:
    with up(home):
        second = subprocess.run(
            [sys.executable, "-m", "treadle", "up", "--home", str(home), "--port", "1"],
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2
        assert "is in use by another process" in second.stderr


def test_a_port_in_use_is_named(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        second = subprocess.run(
            [sys.executable, "-m", "treadle", "up", "--home", str(home), "--port", str(port)],
            capture_output=True,
            text=True,
        )
    assert second.returncode == 2
    assert (
        f"Cannot listen on http://127.0.0.1:{port}: Address already in use. Choose another --port."
        in second.stderr
    )


def test_other_addresses_than_loopback_are_refused_without_a_token(home: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "treadle",
        "up",
        "--home",
        str(home),
        "--host",
        "0.0.0.0",
        "--port",
        "0",
    ]
    second = subprocess.run([*command[:-1], "5999"], capture_output=True, text=True)
    assert second.returncode == 2
    assert "would let anybody in" in second.stderr


DECLARATION = """
issuer = "https://login.example"
client_id = "treadle"
client_secret_file = "secret"
url = "https://treadle.example"
"""


def test_people_sign_in_as_the_home_remembers_until_it_is_off(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "oidc.toml"
    file.write_text(DECLARATION)
    (tmp_path / "secret").write_text("hush")
    with up(home, "--oidc", str(file), "--host", "0.0.0.0") as url:  # no token is needed for that
        assert httpx.get(url).headers["location"] == "/sign-in?next=/"
    file.write_text("issuer = 1")
    refused = subprocess.run(
        [sys.executable, "-m", "treadle", "up", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode != 0
    assert f"{file}: Field 'issuer'" in " ".join(refused.stderr.split())
    with up(home, "--oidc", "off") as url:
        assert httpx.get(url).status_code == 200


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_any_process_may_be_killed_and_nothing_acknowledged_is_lost(
    home: Path, database: str, request: pytest.FixtureRequest
) -> None:
    arguments = (
        ["--database", request.getfixturevalue("postgres_url")] if database == "postgresql" else []
    )
    with up(home, *arguments) as url, connect(url) as services:
        asker, writer, runs = Asker(_first_deployment(services, home)), Writer(url), list[str]()
        asker.start()
        writer.start()
        for turn, victim in enumerate(
            ("server", "worker", "zygote", "replica", "supervisor"), start=1
        ):
            runs.append(services.training.start(project="p", parameters={"turn": turn}).run)
            _kill(home, victim)
            count = len(writer.acknowledged), len(asker.answered)
            eventually(
                lambda count=count: len(writer.acknowledged) > count[0] + 5,  # type: ignore[misc]
                f"writes after the {victim} died",
            )
            eventually(
                lambda count=count: len(asker.answered) > count[1] + 5,  # type: ignore[misc]
                f"answers after the {victim} died",
            )
        for run in runs:
            eventually(lambda run=run: settled(services, run), f"training {run} ends")  # type: ignore[misc]
        eventually(lambda: _idle(services), "every job ends")
        for thread in (asker, writer):
            thread.done.set()
            thread.join()
        _check(services, home, runs, writer, asker)


def test_a_live_home_moves_and_back_and_no_prediction_fails(
    home: Path, postgres_url: str, bucket: str
) -> None:
    with up(home) as url, connect(url) as services:
        asker, writer = Asker(_first_deployment(services, home)), Writer(url)
        before = services.events.why(subject="p:1")
        asker.start()
        writer.start()
        for to_database, to_blobs in ((postgres_url, bucket), ("home", "home")):
            _grows(asker.answered)
            _grows(writer.acknowledged)
            command = [sys.executable, "-m", "treadle", "move", "--home", str(home), "--json"]
            command += ["--to-database", to_database, "--to-blobs", to_blobs]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["copied"] >= 0
            eventually(lambda: answers(url), "the server answers again")
            _grows(writer.acknowledged)
            assert services.events.why(subject="p:1") == before
            assert services.events.verify().intact
        asker.done.set()
        writer.done.set()
        asker.join()
        writer.join()
        assert asker.failed == []
        points = services.tracking.history(run=writer.run_id, key="x")
        assert set(writer.acknowledged) <= {point.step for point in points}
        assert settings_for(home).database == ""


def _grows(things: list[Any]) -> None:
    count = len(things)
    eventually(lambda: len(things) > count + 3, "it goes on")


def _first_deployment(services: Remote, home: Path) -> str:
    """Train, judge, register and deploy the first version; gives the URL of its endpoint."""
    declare(home)
    services.training.start(project="p")
    eventually(lambda: any(e.ready for e in services.delivery.endpoints()), "the endpoint is ready")
    return services.delivery.endpoint(name="p").urls[0]


def _kill(home: Path, victim: str) -> None:
    """Kill -9 one process, while a job runs, and see another take its place."""
    worker = holder(home / "run" / "worker.lock")
    assert worker is not None
    lock = home / "run" / f"{victim}.lock"
    if victim == "replica":
        lock = home / "endpoints" / "p" / "replica-0.lock"
    if victim == "zygote":
        eventually(lambda: any(children(child) for child in children(worker)), "a job runs")
        os.kill(children(worker)[0], signal.SIGKILL)
        return
    pid = holder(lock)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: holder(lock) not in (None, pid), f"another {victim} takes over")


def _idle(services: Remote) -> bool:
    """No job is open, and every training has been judged, so that none will come."""
    judged = len(services.evaluation.find()) == len(services.training.find(state="succeeded"))
    return (
        judged
        and not services.jobs.find(state="queued")
        and not services.jobs.find(state="running")
    )


def _check(services: Remote, home: Path, runs: list[str], writer: Writer, asker: Asker) -> None:
    assert [services.training.get(run=run).error for run in runs] == [None] * len(runs)
    endings = Counter(
        record.subject for record in services.events.history(type="JobEnded", limit=10_000)
    )
    queued = Counter(
        record.subject for record in services.events.history(type="JobQueued", limit=10_000)
    )
    assert endings == queued
    assert set(endings.values()) == {1}
    stored = Counter(point.step for point in services.tracking.history(run=writer.run_id, key="x"))
    assert set(stored.values()) == {1}
    assert set(writer.acknowledged) <= set(stored)
    now = SystemClock().now()
    logs = InferenceLogs(home / "endpoints")
    logged = Counter(
        row.id for row in logs.read("p", now - timedelta(days=1), now + timedelta(days=1))
    )
    assert set(asker.answered) <= set(logged)
    assert services.events.verify().intact
