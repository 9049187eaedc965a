"""A process without file handles says so in a sentence, lives on, and goes on when it has some."""

import asyncio
import errno
import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import models
from tests.platform.test_up import eventually, up
from treadle.http.app import application
from treadle.kernel.process import holder
from treadle.platform.addresses import backend
from treadle.platform.handles import Handles
from treadle.platform.supervisor import running
from treadle.platform.wiring import Embedded
from treadle.ports.target import EndpointSpec, Variant
from treadle.testing.target import until_ready

STANDARD_STREAMS = 3
SPENT, BACK = "No file handle is left", "There are file handles again."


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """While this lasts, a process can open nothing: each number that is left is too high."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (STANDARD_STREAMS, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_server_and_worker_outlive_a_time_without_file_handles(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server_log, worker_log = home / "logs" / "server.log", home / "logs" / "worker.log"
    with up(home) as url:
        server, worker = (holder(home / "run" / f"{name}.lock") for name in ("server", "worker"))
        assert server is not None
        assert worker is not None
        with no_more_files(worker):
            eventually(lambda: "Too many open files" in worker_log.read_text(), "the worker tells")
        with httpx.Client(base_url=url) as known:
            assert known.get("/health").status_code == 200
            with no_more_files(server):
                eventually(lambda: SPENT in server_log.read_text(), "the server tells")
                assert known.get("/health").status_code == 200  # a connection that is there
        eventually(lambda: BACK in server_log.read_text(), "the server goes on")
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        assert httpx.get(f"{url}/api/v1/scope/projects", timeout=60).status_code == 200
        said = worker_log.stat().st_mtime_ns
        eventually(lambda: (home / "run" / "worker.lock").stat().st_mtime_ns > said, "turns")
        assert holder(home / "run" / "server.lock") == server
        assert holder(home / "run" / "worker.lock") == worker
    told = server_log.read_text() + worker_log.read_text()
    assert "Traceback" not in told
    assert server_log.read_text().count(SPENT) == 1


def test_a_supervisor_outlives_a_time_without_file_handles(tmp_path: Path) -> None:
    home = tmp_path / "home"
    log = home / "logs" / "supervisor.log"
    with up(home):
        supervisor = running(home)
        worker = holder(home / "run" / "worker.lock")
        assert supervisor is not None
        assert worker is not None
        with no_more_files(supervisor):
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: "cannot be looked after" in log.read_text(), "it tells")
        eventually(lambda: holder(home / "run" / "worker.lock") not in (None, worker), "a worker")
        assert running(home) == supervisor
        assert log.read_text().count("cannot be looked after") == 1
        assert "Traceback" not in log.read_text()


def test_a_model_server_outlives_a_time_without_file_handles(tmp_path: Path) -> None:
    blobs = backend("blobs", f"file://{tmp_path / 'blobs'}")
    package = models.package(blobs, tmp_path / "model", models.trees())
    target = backend("target", "local:", blobs, tmp_path / "endpoints", {})
    live = Variant(version="p:1", package=package, role="champion", weight=1.0)
    target.apply(EndpointSpec(name="e", generation=1, variants=[live]))
    log = tmp_path / "endpoints" / "e" / "replica-0.log"
    row = {"dataframe_records": [{"colour": "red", "size": 1.0, "weight": 0.0}]}
    try:
        before = until_ready(target, "e").replicas[0]
        with httpx.Client(base_url=before.url, timeout=60) as known:
            assert known.post("/invocations", json=row).status_code == 200
            with no_more_files(before.pid):
                eventually(lambda: SPENT in log.read_text(), "the model server tells")
                assert known.post("/invocations", json=row).status_code == 200
        eventually(lambda: BACK in log.read_text(), "it goes on")
        answer = httpx.post(f"{before.url}/invocations", json=row, timeout=60)
        assert answer.status_code == 200
        assert until_ready(target, "e").replicas[0].pid == before.pid
        assert "Traceback" not in log.read_text()
    finally:
        target.close()


@pytest.mark.parametrize(
    ("number", "says"), [(errno.EMFILE, "open files"), (errno.EIO, "Input/output")]
)
def test_a_request_that_the_system_refuses_is_one_sentence(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    platform = open_home(target="memory:")

    def refuse() -> None:
        raise OSError(number, os.strerror(number), "/a/path")

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(application(platform))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/api/blobs")

    monkeypatch.setattr(platform.blobs, "digests", refuse)
    answer = asyncio.run(asked())
    assert answer.status_code == 503, answer.text
    assert says in answer.json()["message"]
    assert answer.json()["retry"] is True
    assert "/a/path" not in answer.text


def test_each_change_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "treadle.handles")
    found = iter([False, True, True, False, False])
    monkeypatch.setattr("treadle.platform.handles._are_spent", lambda: next(found))
    handles = Handles()
    for _ in range(5):
        handles.look()
    assert [record.message.partition(":")[0] for record in caplog.records] == [SPENT, BACK]
