"""Each process logs its start, its end and its troubles: lines of text, or JSON objects."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from tests.platform.test_up import PROJECT, eventually, up
from treadle.kernel.errors import Invalid
from treadle.kernel.event import acting
from treadle.kernel.process import holder
from treadle.platform import logs
from treadle.platform.logs import AccessLog, JsonLines, TextLines, request_scope
from treadle.platform.wiring import Embedded
from treadle.serving.http import Exchange
from treadle.serving.limits import Caller, Callers
from treadle.serving.server import ModelServer

TEXT_LINE = (
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) (\S+) (\S+): (.*)"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "treadle.toml").write_text(PROJECT)
    return tmp_path / ".treadle"


def read(home: Path, process: str) -> list[str]:
    return (home / "logs" / f"{process}.log").read_text(encoding="utf-8").splitlines()


def test_each_process_logs_its_start_and_its_end_as_text(home: Path) -> None:
    with up(home):
        eventually(lambda: holder(home / "run" / "worker.lock") is not None, "the worker starts")
        pids = {
            name: holder(home / "run" / f"{name}.lock")
            for name in ("supervisor", "server", "worker")
        }
    for process, pid in pids.items():
        lines = [re.fullmatch(TEXT_LINE, line) for line in read(home, process)]
        assert all(lines), read(home, process)
        assert {line[2] for line in lines if line} == {process}
        says = [line[4] for line in lines if line]
        assert says[0] == f"{process} starts: Treadle {version('treadle')}, pid {pid}, home {home}"
        assert says[-1] == f"{process} stops: pid {pid}"
    assert any(" uvicorn.error: Uvicorn running on " in line for line in read(home, "server"))
    assert any(f"server started: pid {pids['server']}" in line for line in read(home, "supervisor"))


def test_each_process_logs_json_objects_when_asked_to(home: Path) -> None:
    with up(home, "--log-json"):
        eventually(lambda: holder(home / "run" / "worker.lock") is not None, "the worker starts")
    for process in ("supervisor", "server", "worker"):
        records = [json.loads(line) for line in read(home, process)]
        assert [list(record) for record in records] == [
            ["ts", "level", "process", "logger", "message", "request_id", "actor"]
        ] * len(records)
        assert {record["process"] for record in records} == {process}
        assert records[0]["message"].startswith(f"{process} starts: ")
        assert records[-1]["message"].startswith(f"{process} stops: ")


def test_the_level_reaches_every_process(home: Path) -> None:
    with up(home, "--log-level", "warning"):
        eventually(lambda: holder(home / "run" / "worker.lock") is not None, "the worker starts")
    assert [read(home, process) for process in ("supervisor", "server", "worker")] == [[], [], []]


def test_a_level_that_is_none_is_told(home: Path) -> None:
    command = [sys.executable, "-m", "treadle", "up", "--home", str(home), "--log-level", "warn"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("Did you mean 'warning'?")


@pytest.fixture
def untouched() -> Iterator[None]:
    """Puts back what ``configure`` changes in this process."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, sys.excepthook, os.environ.copy()
    yield
    root.handlers[:], root.level, sys.excepthook = before[:3]
    logging.captureWarnings(False)
    os.environ.clear()
    os.environ.update(before[3])


@pytest.mark.usefixtures("untouched")
def test_child_processes_inherit_format_and_level(tmp_path: Path) -> None:
    logs.configure("supervisor", json=True, level="WARNING", file=tmp_path / "first.log")
    assert (os.environ["TREADLE_LOG"], os.environ["TREADLE_LOG_LEVEL"]) == ("json", "warning")
    logs.configure("worker", file=tmp_path / "second.log")
    logging.getLogger("treadle").info("too little to tell")
    logging.getLogger("treadle").warning("worth a line")
    (line,) = (tmp_path / "second.log").read_text().splitlines()
    assert json.loads(line)["message"] == "worth a line"
    os.environ["TREADLE_LOG"] = "xml"
    with pytest.raises(Invalid, match=r"There is no log format 'xml' \(see TREADLE_LOG\)"):
        logs.configure("worker")


def record(message: str, *arguments: object, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("treadle.x", logging.INFO, "x.py", 1, message, arguments, exc_info)


def failure() -> Any:
    try:
        raise ValueError("three\nlines\nlong")
    except ValueError:
        return sys.exc_info()


def test_a_record_carries_request_actor_and_exception() -> None:
    with request_scope("req_1"), acting("ann"):
        line = JsonLines("server").format(record("%s failed", "x", exc_info=failure()))
        text = TextLines("server").format(record("%s failed", "x"))
    found = json.loads(line)
    assert (found["request_id"], found["actor"], found["message"]) == ("req_1", "ann", "x failed")
    assert found["exception"].endswith("ValueError: three\nlines\nlong")
    assert text.endswith(" INFO server treadle.x: x failed (request req_1, by ann)")
    outside = json.loads(JsonLines("server").format(record("x")))
    assert (outside["request_id"], outside["actor"], "exception" in outside) == (
        None,
        "system",
        False,
    )


def test_a_job_that_is_over_says_so_in_json(open_home: Callable[..., Embedded]) -> None:
    platform = open_home()
    with platform.database.write() as transaction:
        job = platform.jobs.enqueue(transaction, kind="x", payload={})
    asked = [sys.executable, "-m", "treadle.platform.job", job, "7"]
    given = {**os.environ, **platform.settings.environment(), "TREADLE_LOG": "json"}
    ended = subprocess.run(asked, capture_output=True, text=True, timeout=60, env=given)
    records = [json.loads(line) for line in (ended.stdout + ended.stderr).splitlines()]
    told = [(record["process"], record["level"], record["message"]) for record in records]
    assert told == [("job", "INFO", f"attempt 7 of {job} is over; nothing was done")]


def test_a_failed_request_of_a_model_server_has_its_id_and_its_caller() -> None:
    class Broken(ModelServer):
        def _post(self, exchange: Exchange) -> None:
            raise RuntimeError("broken")

    token = sha256(b"secret").hexdigest()
    callers = Callers([Caller(name="shop", sha256=token, per_second=9)])
    headers = [(b"x-request-id", b"r-1"), (b"authorization", b"Bearer secret")]
    replies, lines = list[int](), list[str]()

    class Asked:
        method, path = "POST", "/invocations"

        def __init__(self) -> None:
            self.headers = headers

        def reply(self, status: int, *_: object, **__: object) -> None:
            replies.append(status)

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonLines("model-server:e/0").format(record))

    kept, logger = Kept(), logging.getLogger("treadle.serving.server")
    logger.addHandler(kept)
    try:
        server = Broken("e", callers=callers)
        server.handle(cast("Exchange", Asked()))
    finally:
        logger.removeHandler(kept)
    (found,) = map(json.loads, lines)
    assert replies == [500]
    assert (found["request_id"], found["actor"], found["level"]) == ("r-1", "shop", "ERROR")


def test_no_message_passes_for_another_record() -> None:
    forged = "x\n2026-01-01T00:00:00.000Z INFO server treadle: all is well\x1b[2K\r\u2028\x85"
    first, *further = TextLines("server").format(record("%s", forged)).splitlines()
    assert all(line.startswith("    ") for line in further)
    assert "\x1b" not in first + "".join(further) and r"\x1b[2K\x0d\u2028\x85" in further[0]
    assert len(JsonLines("server").format(record("%s", forged)).splitlines()) == 1


async def answer(request: Request) -> Response:
    if request.path_params["how"] == "slow":
        await asyncio.sleep(0.02)
    if request.path_params["how"] == "crash":
        raise ValueError("a defect")
    if request.path_params["how"] == "gone":
        raise ClientDisconnect
    return PlainTextResponse("x", status_code=int(request.query_params.get("status", 200)))


def ask(path: str, **options: Any) -> None:
    """One request to an application behind the access log."""
    app = Starlette(routes=[Route("/{how}", answer)], middleware=[Middleware(AccessLog, **options)])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("10.0.0.7", 1234))

    async def get() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://treadle") as client:
            with suppress(AssertionError):  # nothing answers a caller that has left
                await client.get(path)

    asyncio.run(get())


@pytest.mark.parametrize(
    "path, level, says",
    [
        ("/x?status=500", "ERROR", r"GET /x from 10\.0\.0\.7: 500 after 0\.\d{3} s"),
        ("/x?status=503&token=secret", "ERROR", r"GET /x from 10\.0\.0\.7: 503 after 0\.\d{3} s"),
        ("/x?status=401", "INFO", r"GET /x from 10\.0\.0\.7: 401 after 0\.\d{3} s"),
        ("/x%0Aforged?status=403", "INFO", r"GET /x%0Aforged from 10\.0\.0\.7: 403 after .*"),
        ("/slow", "WARNING", r"GET /slow from 10\.0\.0\.7: 200 after 0\.\d{3} s"),
        ("/crash", "ERROR", r"GET /crash failed after 0\.\d{3} s"),
        ("/gone", "INFO", r"GET /gone: the caller left after 0\.\d{3} s"),
    ],
)
def test_failed_refused_and_slow_requests_are_logged(
    path: str,
    level: str,
    says: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "SLOW_SECONDS", 0.01 if path == "/slow" else 1.0)
    with caplog.at_level("INFO", "treadle.access"):
        ask(path)
    (line,) = [line for line in caplog.records if line.name == "treadle.access"]
    assert line.levelname == level
    assert re.fullmatch(says, line.getMessage())
    assert (line.exc_info is not None) == (path == "/crash")


def test_each_request_is_observed_once_also_one_that_crashes() -> None:
    seen: list[tuple[str, int]] = []

    def observe(scope: Scope, status: int, _: float) -> None:
        seen.append((scope["path"], status))

    for path in ("/x", "/x?status=503", "/crash", "/gone"):
        ask(path, observe=observe)
    assert seen == [("/x", 200), ("/x", 503), ("/crash", 500), ("/gone", 499)]


def test_a_usual_request_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "treadle.access"):
        for path in ("/x", "/x?status=404", "/x?status=302"):
            ask(path)
    assert [line for line in caplog.records if line.name == "treadle.access"] == []
