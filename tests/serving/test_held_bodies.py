"""Bodies in hand have one limit for all connections of a model server."""

import asyncio
import struct
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.serving.scripted import engine, variant
from tests.serving.test_grpc import Client
from tests.serving.test_http import LOOK, said, with_server
from treadle.serving import request_reader
from treadle.serving.grpc_service import GrpcService
from treadle.serving.http import HttpServer
from treadle.serving.server import ModelServer

MIB = 1 << 20
HEAD = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
SMALL = HEAD % 3 + b"abc"
WHOLE = HEAD % MIB + b" " * MIB


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_reader, "MAX_HELD_BYTES", 8 * MIB)


async def until(condition: Callable[[], bool], limit: float = 15) -> None:
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


def test_unfinished_bodies_of_many_callers_stay_within_the_limit() -> None:
    most = list[int]()

    async def work(server: HttpServer, port: int) -> None:
        async def unfinished() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(HEAD % (2 * MIB) + b" " * MIB)
            await writer.drain()
            return await reader.read()

        async def watch() -> None:
            while True:
                most.append(server.held.bytes)
                await asyncio.sleep(0)

        writers = list[asyncio.StreamWriter]()
        watching = asyncio.ensure_future(watch())
        callers = [asyncio.ensure_future(unfinished()) for _ in range(30)]
        await until(lambda: sum(caller.done() for caller in callers) >= 20)
        refused = [caller.result() for caller in callers if caller.done()]
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
        assert all(b"Send it again in a second." in answer for answer in refused)
        assert server.held.bytes > 6 * MIB
        for small in (SMALL, LOOK):
            assert (await said(port, small)).startswith(b"HTTP/1.1 200 ")
        for writer in writers:
            writer.close()
        await until(lambda: server.held.bytes == 0)
        assert (await said(port, WHOLE)).startswith(b"HTTP/1.1 200 ")
        watching.cancel()

    with_server(work)
    assert max(most) < 9 * MIB, "the limit, and what came in one read with what was too much"


def test_whole_bodies_are_held_until_they_are_answered_or_their_caller_is_gone() -> None:
    later = WHOLE.replace(b"/a", b"/later/30")

    async def work(server: HttpServer, port: int) -> None:
        waiting = [asyncio.ensure_future(said(port, later, end=False)) for _ in range(7)]
        await until(lambda: server.held.bytes > 6 * MIB)
        pair = await said(port, WHOLE, WHOLE.replace(b"/a", b"/later/0.1"))
        assert pair.count(b"HTTP/1.1 200 ") == 2, "one at a time there is room"
        before = server.held.bytes
        assert (await said(port, HEAD % (4 * MIB) + b" " * (3 * MIB))).startswith(b"HTTP/1.1 503 ")
        assert server.held.bytes == before
        for one in list(server.connections):
            one.abort()
        await asyncio.gather(*waiting, return_exceptions=True)
        await until(lambda: server.held.bytes == 0)

    with_server(work)


def test_a_body_of_tiny_chunks_takes_no_more_memory_than_its_bytes() -> None:
    chunks = b"2\r\nab\r\n" * 50_000
    head = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"

    async def work(server: HttpServer, port: int) -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + chunks)
        await writer.drain()
        (connection,) = server.connections
        await until(lambda: len(connection._body) == 100_000)
        held, _ = tracemalloc.get_traced_memory()
        writer.close()
        return held

    tracemalloc.start()
    try:
        assert with_server(work) < MIB
    finally:
        tracemalloc.stop()


def _is_open(window: Callable[[], int]) -> bool:
    return window() > MIB // 2 + (100 << 10)


def test_unfinished_messages_of_many_grpc_connections_stay_within_the_limit(tmp_path: Path) -> None:
    made = ModelServer("e")
    made.engines["e"] = engine(tmp_path, variant(tmp_path, "m:1"))

    async def main() -> None:
        serving = HttpServer(made.handle, GrpcService(made).accept)
        listening = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        clients = [Client(port) for _ in range(20)]
        begun = list[int]()
        part = struct.pack(">BL", 0, 2 * MIB) + bytes(600_000)
        for client in clients:
            await client.__aenter__()
            number = client.begin("ModelInfer")
            client.push()
            window = partial(client.http2.local_flow_control_window, number)
            await client.hear(partial(_is_open, window))
            for start in range(0, len(part), 16_000):
                client.http2.send_data(number, part[start : start + 16_000])
            client.push()
            begun.append(number)
        await clients[-1].hear(lambda: begun[-1] in clients[-1].ended)
        facts = clients[-1].facts[begun[-1]]
        assert facts["grpc-status"] == "8"
        assert "all together" in facts["grpc-message"]
        assert 6 * MIB < serving.held.bytes <= 8 * MIB
        for client in clients:
            await client.__aexit__(None, None, None)
        await until(lambda: serving.held.bytes == 0)
        listening.close()

    asyncio.run(main())
