"""Requests are handed over whole and in order, however they are cut; others are refused."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.serving import http
from treadle.serving.http import Exchange, HttpServer
from treadle.serving.request_reader import MAX_HEAD_BYTES, STALL_SECONDS

T = TypeVar("T")
ONE = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
CHUNKED = (
    b"POST /b?q=1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\nde\r\n1;x=y\r\nf\r\n0\r\n\r\n"
)
LOOK = b"GET /c HTTP/1.1\r\nhost: x\r\n\r\n"


def echo(exchange: Exchange) -> None:
    """Tells what was asked; later, where the path says so."""
    told = json.dumps([exchange.method, exchange.path, exchange.body.decode("latin-1")]).encode()
    if exchange.path.startswith("/later"):
        delay = float(exchange.path.removeprefix("/later/"))
        asyncio.get_running_loop().call_later(delay, exchange.reply, 200, told)
    else:
        exchange.reply(200, told)


def with_server(
    work: Callable[[HttpServer, int], Awaitable[T]], handle: Callable[[Exchange], None] = echo
) -> T:
    async def main() -> T:
        server = HttpServer(handle)
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        async with listening:
            return await asyncio.wait_for(
                work(server, listening.sockets[0].getsockname()[1]), timeout=20
            )

    return asyncio.run(main())


async def said(port: int, *parts: bytes, end: bool = True) -> bytes:
    """The answer to bytes sent part by part, until the server closes or ``end`` tells the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    if end:
        writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


def bodies(answer: bytes) -> list[Any]:
    """The decoded bodies of answers that follow each other."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
        size = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        found.append(json.loads(rest[:size]))
        answer = rest[size:]
    return found


ASKED = [["POST", "/a", "abc"], ["POST", "/b", "def"], ["GET", "/c", ""]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12))
def test_requests_are_read_however_they_are_cut(cuts: list[int]) -> None:
    content, parts = ONE + CHUNKED + LOOK, []
    for cut in cuts:
        parts.append(content[:cut])
        content = content[cut:]
    answer = with_server(lambda _, port: said(port, *parts, content))
    assert bodies(answer) == ASKED


def test_answers_come_in_the_order_of_the_questions() -> None:
    asked = b"".join(
        LOOK.replace(b"/c", path) for path in (b"/later/0.05", b"/later/0.01", b"/now")
    )
    answer = with_server(lambda _, port: said(port, asked))
    assert [path for _, path, _ in bodies(answer)] == ["/later/0.05", "/later/0.01", "/now"]


def test_more_requests_than_may_wait_are_answered_all() -> None:
    asked = LOOK.replace(b"/c", b"/later/0.02") + LOOK * (3 * http.MAX_PIPELINED)
    answer = with_server(lambda _, port: said(port, asked))
    assert len(bodies(answer)) == 3 * http.MAX_PIPELINED + 1


def test_head_is_answered_without_a_body() -> None:
    answer = with_server(lambda _, port: said(port, LOOK.replace(b"GET", b"HEAD")))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) > 0
    assert body == b""


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    head, body = ONE.split(b"\r\n\r\n")
    answer = with_server(
        lambda _, port: said(port, head + b"\r\nexpect: 100-continue\r\n\r\n", body)
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "ending",
    [
        b"HTTP/1.1\r\nconnection: close",
        b"HTTP/1.0",
        b"HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c",
    ],
)
def test_a_connection_that_is_not_to_be_kept_is_closed(ending: bytes) -> None:
    answer = with_server(
        lambda _, port: said(port, b"GET /c " + ending + b"\r\nhost: x\r\n\r\n", end=False)
    )
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (ONE.replace(b": 3", b": x"), 400),
        (ONE.replace(b": 3\r\n", b": 3\r\ncontent-length: 4\r\n"), 400),
        (ONE.replace(b": 3\r\n", b": 3\r\ntransfer-encoding: chunked\r\n"), 400),
        (CHUNKED.replace(b"\r\n2\r\n", b"\r\nzz\r\n"), 400),
        (LOOK.replace(b"host: x", b"a: b\r\n c: d"), 400),
        (LOOK.replace(b"host: x", b"x: " + b"y" * MAX_HEAD_BYTES), 431),
        (ONE.replace(b": 3", b": 99999999999"), 413),
        (CHUNKED.replace(b"2\r\nde", b"1100001\r\n" + b"d" * 0x1100001), 413),
    ],
    ids=["tls", "version", "length", "two lengths", "both",
         "chunk", "folded", "head", "declared", "sent"],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_the_connection_closed(
    content: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DROP_SECONDS", 0.1)
    answer = with_server(lambda _, port: said(port, content, end=False))
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([ONE, CHUNKED, LOOK, b"\r\n", b"GET ", b"\r\n\r\n"]),
        max_size=6,
    )
)
def test_whatever_is_sent_the_server_goes_on(parts: list[bytes]) -> None:
    async def work(server: HttpServer, port: int) -> bytes:
        with shorter():
            with suppress(OSError):  # it may be dropped before we have read why
                await said(port, *parts)
            answer = await said(port, ONE)
        assert not server.connections
        return answer

    assert bodies(with_server(work)) == ASKED[:1]


@contextmanager
def shorter() -> Iterator[None]:
    before, http.DROP_SECONDS = http.DROP_SECONDS, 0.01
    try:
        yield
    finally:
        http.DROP_SECONDS = before


def test_silent_connections_are_closed_and_half_requests_are_told() -> None:
    async def work(server: HttpServer, port: int) -> tuple[bytes, bytes]:
        asked = [
            asyncio.ensure_future(said(port, content, end=False)) for content in (b"", ONE[:-1])
        ]
        await eventually(lambda: len(server.connections) == 2)
        await eventually(lambda: any(connection._reading for connection in server.connections))
        for connection in list(server.connections):
            connection.expire(connection.heard + STALL_SECONDS + 1)
        half = await asked[1]
        assert len(server.connections) == 1
        for connection in list(server.connections):
            connection.expire(connection.heard + http.IDLE_SECONDS + 1)
        return await asked[0], half

    with shorter():
        silent, half = with_server(work)
    assert silent == b""
    assert half.startswith(b"HTTP/1.1 408 ")


def test_a_request_that_comes_byte_by_byte_ends_too() -> None:
    async def work(server: HttpServer, port: int) -> bytes:
        asked = asyncio.ensure_future(said(port, ONE[:-1], end=False))
        await eventually(lambda: any(connection._reading for connection in server.connections))
        (connection,) = server.connections
        connection.heard += 1e6  # a byte has come just now
        connection.expire(connection._begun_at + STALL_SECONDS - 1)
        assert not asked.done()
        connection.expire(connection._begun_at + STALL_SECONDS + 1)
        return await asked

    with shorter():
        assert with_server(work).startswith(b"HTTP/1.1 408 ")


def test_a_request_in_hand_is_never_too_late() -> None:
    async def work(server: HttpServer, port: int) -> bytes:
        asked = asyncio.ensure_future(said(port, LOOK.replace(b"/c", b"/later/0.1"), end=False))
        await eventually(lambda: any(connection._open for connection in server.connections))
        (connection,) = server.connections
        connection.expire(connection.heard + 1e6)
        await server.drain(5)
        return await asked

    assert len(bodies(with_server(work))) == 1


def test_draining_answers_what_was_asked_and_closes() -> None:
    async def work(server: HttpServer, port: int) -> list[bytes]:
        idle = asyncio.ensure_future(said(port, LOOK, end=False))
        busy = asyncio.ensure_future(said(port, LOOK.replace(b"/c", b"/later/0.2"), end=False))
        half = asyncio.ensure_future(slowly(port))
        await eventually(lambda: len(server.connections) == 3)
        await asyncio.sleep(0.05)
        await server.drain(5)
        assert not server.connections
        return [await idle, await busy, await half]

    async def slowly(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ONE[:-1])
        await asyncio.sleep(0.15)
        writer.write(ONE[-1:])
        return await reader.read()

    for answer in with_server(work):
        assert len(bodies(answer)) == 1


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    big = b"x" * 400_000
    taken = []

    def handle(exchange: Exchange) -> None:
        taken.append(exchange)
        exchange.reply(200, big)

    async def work(server: HttpServer, port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1000)
        for _ in range(400):
            writer.write(LOOK)
            await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        held = len(taken)
        while len(taken) < 400:
            await reader.read(1 << 20)
        writer.close()
        return held

    assert with_server(work, handle) < 300


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_many_requests_at_once_leave_other_connections_their_turn() -> None:
    """Thousands of requests in one write are answered bit by bit, and all of them in order."""
    many, answered_first = 4_000, []

    def handle(exchange: Exchange) -> None:
        answered_first.append(exchange.path)
        exchange.reply(200, json.dumps(["GET", exchange.path, ""]).encode())

    async def work(server: HttpServer, port: int) -> bytes:
        wanted = b"".join(LOOK.replace(b"/c", b"/%d" % n) for n in range(many))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wanted)
        await eventually(lambda: bool(answered_first))
        await said(port, LOOK)
        assert answered_first.index("/c") < many / 2
        writer.write_eof()
        return await reader.read()

    answers = bodies(with_server(work, handle))
    assert [path for _, path, _ in answers] == [f"/{n}" for n in range(many)]


def test_a_client_that_reads_nothing_is_answered_no_more_and_closed() -> None:
    asked, size = 20_000, 100_000
    answered = 0

    def handle(exchange: Exchange) -> None:
        nonlocal answered
        answered += 1
        exchange.reply(200, b"x" * size)

    async def work(server: HttpServer, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LOOK * asked)
        await eventually(lambda: any(connection._unread for connection in server.connections))
        await asyncio.sleep(0.2)
        assert answered * size < 64 << 20
        (connection,) = server.connections
        connection.expire(connection.heard + http.IDLE_SECONDS + 1)
        await eventually(lambda: not server.connections)
        writer.close()

    with_server(work, handle)


def test_requests_behind_others_of_their_connections_do_not_hold_up_a_quick_one() -> None:
    """Twenty connections with a hundred requests of a millisecond each; then somebody else."""
    begun: list[str] = []

    def handle(exchange: Exchange) -> None:
        begun.append(exchange.path)
        if exchange.path == "/long":
            time.sleep(0.001)
        exchange.reply(200, b"{}")

    async def work(server: HttpServer, port: int) -> int:
        crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _, theirs in crowd:
            theirs.write(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n" * 100)
        await asyncio.sleep(0.1)
        writer.write(b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"{}")
        for answers, theirs in crowd:
            for _ in range(100):
                await answers.readuntil(b"{}")
            theirs.close()
        writer.close()
        assert len(begun) == 2001 and len(server.connections) <= 21
        return begun.index("/quick")

    assert with_server(work, handle) < 500
