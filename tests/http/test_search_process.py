"""Searches are answered in a process of their own, as the server would have answered them."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tests.platform.test_up import PROJECT, answers, eventually, up
from treadle.http import search_process
from treadle.http.search_process import SearchProcess
from treadle.http.searching import Apart, TurnRoute
from treadle.kernel.errors import TreadleError, Unauthenticated
from treadle.kernel.process import holder
from treadle.platform.logs import AccessLog
from treadle.platform.remote import connect

Body = Callable[[httpx.AsyncClient, SearchProcess], Awaitable[None]]
Run = Callable[[Body], None]
MOST_BYTES = 4_000_000
FIND = "/api/2.0/mlflow/runs/search"


async def here(request: Request) -> Response:
    return PlainTextResponse(f"here{len(await request.body()) or ''}")


async def admitted(request: Request) -> object:
    if "stranger" in request.headers:
        raise Unauthenticated("Who is it?")
    return None


async def refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, TreadleError)
    return PlainTextResponse(str(error), status_code=error.status)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, SearchProcess]]:
    """A client of an application whose searches go to a process, and that process."""
    searches = SearchProcess("tests.http.apart", output=folder / "searches.log")
    apart = Apart(admitted, MOST_BYTES)
    routes = [
        TurnRoute(f"/{name}", here, turn="search", apart=apart, methods=["GET", "POST"])
        for name in ("told", "large", "noted", "end", "fail")
    ]
    routes.append(TurnRoute("/quick", here, turn="quick", apart=apart))
    routes.append(TurnRoute("/writes", here, turn="search", apart=None, methods=["POST"]))
    handlers: Any = {TreadleError: refused}
    application = Starlette(
        routes=routes, exception_handlers=handlers, middleware=[Middleware(AccessLog)]
    )
    application.state.searches = searches
    transport = httpx.ASGITransport(application, client=("10.1.2.3", 7))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            yield client, searches
    finally:
        await asyncio.to_thread(searches.stop)


async def started(client: httpx.AsyncClient, searches: SearchProcess) -> None:
    """Search until the process is there."""
    while searches.pid is None:
        await client.get("/told")
        await asyncio.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a test's body beside a search process."""

    def run(body: Body) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), served(tmp_path) as (client, searches):
                await body(client, searches)

        asyncio.run(main())

    return run


def test_searches_are_answered_apart_once_the_process_is_there(run: Run) -> None:
    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        first = await asyncio.gather(*(client.get("/told") for _ in range(8)))
        assert "here" in {answer.text for answer in first}
        await started(client, searches)
        answers = await asyncio.gather(*(client.get("/told", params={"n": n}) for n in range(8)))
        assert [answer.json()["query"] for answer in answers] == [{"n": str(n)} for n in range(8)]
        (pid,) = {answer.json()["pid"] for answer in answers}
        assert pid != os.getpid()
        assert (await client.get("/quick")).text == "here"
        assert (await client.post("/writes")).text == "here"

    run(body)


def test_a_request_comes_over_as_it_is_and_its_answer_comes_back_as_it_is(run: Run) -> None:
    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        headers = [(b"X-Request-Id", b"r-17"), (b"X-Odd", b"\xe4"), (b"X-Odd", b"2")]
        sent = "x" * 3_000_000
        answer = await client.post("/told", params={"a": "b c"}, content=sent, headers=headers)
        told = answer.json()
        assert answer.status_code == 203
        assert answer.headers["content-type"] == "application/json"
        assert (told["method"], told["path"], told["query"]) == ("POST", "/told", {"a": "b c"})
        assert (told["body"], told["request"], told["client"]) == (sent, "r-17", "10.1.2.3")
        assert [one for one in told["headers"] if one[0] == "x-odd"] == [
            ["x-odd", "ä"],
            ["x-odd", "2"],
        ]
        assert (await client.get("/large")).content == bytes(range(256)) * 20_000

    run(body)


def test_a_failure_there_is_a_500_here(run: Run) -> None:
    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        assert (await client.get("/fail")).status_code == 500
        assert (await client.get("/told")).status_code == 203

    run(body)


def test_a_process_that_ends_costs_its_searches_and_is_started_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "FIRST_WAIT_SECONDS", 0.2)

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        first = (await client.get("/told")).json()["pid"]
        searched = await asyncio.gather(client.post("/end", content="xyz"), client.get("/end"))
        assert {one.text for one in searched} == {"here3", "here"}
        while searches.pid is not None:
            await asyncio.sleep(0.01)
        assert (await client.get("/told")).text == "here"  # until it may be started again
        await asyncio.sleep(0.3)
        await started(client, searches)
        again = (await client.get("/told")).json()["pid"]
        assert again not in (first, os.getpid())

    run(body)


def test_a_process_that_cannot_start_leaves_the_searches_here(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_TEST_ENDS", "3")

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        answers = await asyncio.gather(*(client.get("/told") for _ in range(5)))
        assert [answer.text for answer in answers] == ["here"] * 5

        def no_process(*_: Any, **__: Any) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(subprocess, "Popen", no_process)
        searches._not_before = 0.0
        assert (await client.get("/told")).text == "here"

    run(body)


def test_a_search_whose_caller_has_left_is_not_begun(run: Run, tmp_path: Path) -> None:
    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)

        def search(name: str) -> "asyncio.Task[httpx.Response]":
            params = {"folder": str(tmp_path), "name": name}
            return asyncio.ensure_future(client.get("/noted", params=params))

        first = search("first")
        while not (tmp_path / "began first").exists():
            await asyncio.sleep(0.01)
        leaves, stays = search("leaves"), search("stays")
        await asyncio.sleep(0.2)
        leaves.cancel()
        await asyncio.sleep(0.2)
        (tmp_path / "free").touch()
        assert (await first).text == (await stays).text == "done"
        began = {file.name for file in tmp_path.glob("began *")}
        assert began == {"began first", "began stays"}

    run(body)


def test_a_body_is_read_for_those_who_are_known_and_up_to_the_routes_limit(run: Run) -> None:
    """A refusal is the endpoint's own, as it says it; so is that of a body that is too large."""

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        read = [0]

        async def sent() -> AsyncIterator[bytes]:
            for _ in range(4):
                read[0] += 1
                yield b"x" * 1_000_000

        stranger = await client.post("/told", content=sent(), headers={"stranger": "1"})
        assert (stranger.status_code, stranger.text) == (401, "Who is it?")
        large = await client.post("/told", content=b"x" * (MOST_BYTES + 1))
        assert (large.status_code, "larger than" in large.text) == (413, True)

    run(body)


def test_a_read_has_no_body_whatever_it_declares(run: Run) -> None:
    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        answer = await client.request("GET", "/told", headers={"Content-Length": "900000000"})
        assert (answer.status_code, answer.json()["body"]) == (203, "")

    run(body)


def test_a_process_that_hangs_is_ended_and_its_searches_are_answered_here(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "SILENCE_SECONDS", 1.5)

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        pid = searches.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        answers = await asyncio.gather(*(client.get("/told") for _ in range(3)))
        assert [answer.text for answer in answers] == ["here"] * 3
        assert searches.pid is None
        with pytest.raises(ProcessLookupError):
            while True:  # it is gone, and nobody's zombie
                os.kill(pid, 0)
                await asyncio.sleep(0.01)

    run(body)


def test_a_process_that_does_not_get_ready_is_ended(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "START_SECONDS", 0.5)
    monkeypatch.setattr(search_process, "SILENCE_SECONDS", 0.5)
    monkeypatch.setenv("TREADLE_TEST_HANGS", "1")

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        assert (await client.get("/told")).text == "here"
        process = searches._process
        assert process is not None
        while process.returncode is None:
            assert (await client.get("/told")).text == "here"
            await asyncio.sleep(0.05)
        assert process.returncode == -signal.SIGKILL

    run(body)


def test_more_requests_than_are_handed_over_at_a_time_wait_without_a_socket(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "MOST_HANDED", 2)

    async def body(client: httpx.AsyncClient, searches: SearchProcess) -> None:
        await started(client, searches)
        before = len(list(Path("/proc/self/fd").iterdir()))
        params = [{"folder": str(tmp_path), "name": str(number)} for number in range(20)]
        waiting = [asyncio.ensure_future(client.get("/noted", params=one)) for one in params]
        await asyncio.sleep(0.5)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
        (tmp_path / "free").touch()
        assert [one.text for one in await asyncio.gather(*waiting)] == ["done"] * 20

    run(body)


def test_a_real_server_has_searches_answered_apart_and_outlives_that(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_text(PROJECT)
    home = tmp_path / ".treadle"
    lock, log = home / "run" / "searches.lock", home / "logs" / "server.log"
    with up(home) as url:
        run = connect(url).tracking.start_run(params={"lr": "0.1"})
        wanted = {"experiment_ids": ["0", "1", "2"], "filter": "params.lr = '0.1'"}

        def search(timeout: float = 30) -> httpx.Response:
            return httpx.post(url + FIND, json=wanted, timeout=timeout)

        def is_apart(pid: int | None = None) -> bool:
            return search().is_success and f"of their own, pid {pid or holder(lock)}" in (
                log.read_text()
            )

        alone = search()
        assert [one["info"]["run_id"] for one in alone.json()["runs"]] == [run.id]
        eventually(is_apart, "it starts")
        pid = holder(lock)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(httpx.ReadTimeout):
            search(timeout=1)
        os.kill(pid, signal.SIGCONT)
        apart = search()
        assert (apart.json(), apart.status_code) == (alone.json(), 200)
        wrong = httpx.post(url + FIND, json={"filter": "metrics.x ~ 1"}, timeout=30)
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert httpx.get(url + "/api/v1/registry/search").json() == []
        page = httpx.get(url + "/experiments", timeout=30, follow_redirects=True)
        assert (page.status_code, "</html>" in page.text) == (200, True)
        found: list[int] = []
        asked = threading.Thread(
            target=lambda: found.extend(search().status_code for _ in range(40))
        )
        asked.start()
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        asked.join()
        assert found == [200] * 40, "what it had in hand is searched by the server"
        eventually(lambda: is_apart() and holder(lock) not in (None, pid), "another one starts")
        second = holder(lock)
        assert second is not None
        began = time.monotonic()
        os.kill(second, signal.SIGTERM)
        eventually(lambda: holder(lock) != second, "it ends")
        assert time.monotonic() - began < 5
        assert search(timeout=10).status_code == 200
        server = holder(home / "run" / "server.lock")
        assert server is not None
        os.kill(server, signal.SIGKILL)
        eventually(lambda: holder(home / "run" / "server.lock") not in (None, server), "a server")
        eventually(lambda: answers(url), "it answers")
        assert search().status_code == 200
    assert holder(lock) is None
