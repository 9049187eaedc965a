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

from tests.platform.test_up import PROJECT, eventually, up
from treadle.http import search_process
from treadle.http.search_process import SearchProcess
from treadle.http.searching import TurnRoute
from treadle.kernel.errors import TreadleError, Unavailable
from treadle.kernel.process import holder
from treadle.platform.logs import AccessLog
from treadle.platform.remote import connect

Body = Callable[[httpx.AsyncClient, SearchProcess], Awaitable[None]]
Run = Callable[[Body], None]
FIND = "/api/2.0/mlflow/runs/search"


async def here(_: Request) -> Response:
    return PlainTextResponse("here")


async def unavailable(_: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=503)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[httpx.AsyncClient, SearchProcess]]:
    """A client of an application whose searches go to a process, and that process."""
    searches = SearchProcess("tests.http.apart", output=folder / "searches.log")
    routes = [
        TurnRoute(f"/{name}", here, turn="search", reads=True, methods=["GET", "POST"])
        for name in ("told", "large", "noted", "end", "fail")
    ]
    routes.append(TurnRoute("/quick", here, turn="quick", reads=True))
    routes.append(TurnRoute("/writes", here, turn="search", reads=False, methods=["POST"]))
    handlers: Any = {TreadleError: unavailable}
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
        ended = await client.get("/end")
        assert ended.status_code == 503
        assert ended.text == "The process that searches has ended. Search again."
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


def test_an_error_without_a_process_is_told_as_one(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(Unavailable, match="cannot be asked"):
            scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/"}
            searches = SearchProcess("none", output=tmp_path / "log")
            await searches.answer(scope, b"", _never, _nothing)

    asyncio.run(main())


async def _never() -> Any:
    await asyncio.sleep(60)


async def _nothing(_: Any) -> None:
    pass


def test_a_real_server_has_searches_answered_apart_and_outlives_that(tmp_path: Path) -> None:
    (tmp_path / "treadle.toml").write_text(PROJECT)
    home = tmp_path / ".treadle"
    lock = home / "run" / "searches.lock"
    with up(home) as url:
        run = connect(url).tracking.start_run(params={"lr": "0.1"})
        wanted = {"experiment_ids": ["0", "1", "2"], "filter": "params.lr = '0.1'"}

        def search() -> httpx.Response:
            return httpx.post(url + FIND, json=wanted, timeout=30)

        alone = search()
        assert [one["info"]["run_id"] for one in alone.json()["runs"]] == [run.id]
        eventually(lambda: search().is_success and holder(lock) is not None, "it starts")
        pid = holder(lock)
        assert pid is not None
        apart = search()
        assert (apart.json(), apart.status_code) == (alone.json(), 200)
        wrong = httpx.post(url + FIND, json={"filter": "metrics.x ~ 1"}, timeout=30)
        assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert httpx.get(url + "/api/v1/registry/search").json() == []
        page = httpx.get(url + "/experiments", timeout=30, follow_redirects=True)
        assert (page.status_code, "</html>" in page.text) == (200, True)
        found: list[int] = []
        asked = threading.Thread(target=lambda: found.extend(_searched(search) for _ in range(40)))
        asked.start()
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        asked.join()
        assert set(found) <= {200, 503}
        assert found[-1] == 200
        eventually(
            lambda: search().is_success and holder(lock) not in (None, pid), "another one starts"
        )
        server = holder(home / "run" / "server.lock")
        assert server is not None
        os.kill(server, signal.SIGKILL)
        eventually(lambda: holder(lock) is None, "it ends with the server")
        eventually(lambda: holder(home / "run" / "server.lock") not in (None, server), "a server")
    assert holder(lock) is None


def _searched(search: Callable[[], httpx.Response]) -> int:
    try:
        return search().status_code
    except httpx.TransportError:
        return 503
