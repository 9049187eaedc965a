"""Predictions by gRPC, asked by another HTTP/2 (h2) over real connections."""

import asyncio
import json
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import h2.connection
import h2.events
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.scripted import engine, generation, logged, variant
from treadle.serving import protobuf
from treadle.serving.grpc_service import SERVICE, GrpcService
from treadle.serving.http import HttpServer
from treadle.serving.limits import Caller, Callers
from treadle.serving.protobuf import bytes_field, text_field, varint
from treadle.serving.request_reader import MAX_BODY_BYTES
from treadle.serving.server import ModelServer

T = TypeVar("T")
SECRET = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"


class Client:
    """One HTTP/2 connection that calls methods by gRPC."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.http2 = h2.connection.H2Connection()
        self.came: dict[int, bytes] = {}
        self.facts: dict[int, dict[str, str]] = {}
        self.ended: set[int] = set()

    async def __aenter__(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.http2.initiate_connection()
        self.push()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def push(self) -> None:
        self.writer.write(self.http2.data_to_send())

    def begin(self, method: str, **metadata: str) -> int:
        number = self.http2.get_next_available_stream_id()
        path = method if method.startswith("/") else f"{SERVICE}{method}"
        fixed = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x",
                 "te": "trailers", "content-type": "application/grpc"}  # fmt: skip
        self.http2.send_headers(number, [*fixed.items(), *metadata.items()])
        self.came[number], self.facts[number] = b"", {}
        return number

    def send(self, number: int, *messages: bytes, end: bool = True) -> None:
        content = b"".join(struct.pack(">BL", 0, len(one)) + one for one in messages)
        for start in range(0, len(content), 16384):
            self.http2.send_data(number, content[start : start + 16384])
        if end:
            self.http2.end_stream(number)
        self.push()

    async def hear(self, until: Callable[[], bool]) -> None:
        while not until():
            data = await asyncio.wait_for(self.reader.read(65536), timeout=60)
            assert data, "the server closed the connection"
            for event in self.http2.receive_data(data):
                self.note(event)
            self.push()

    def note(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.came[event.stream_id] += event.data
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.facts[event.stream_id] |= {k.decode(): v.decode() for k, v in event.headers}
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            self.ended.add(event.stream_id)

    def messages(self, number: int) -> list[bytes]:
        found, content = [], self.came[number]
        while len(content) >= 5:
            size = int.from_bytes(content[1:5], "big")
            if len(content) < 5 + size:
                break
            found.append(content[5 : 5 + size])
            content = content[5 + size :]
        return found

    async def call(
        self, method: str, *messages: bytes, **metadata: str
    ) -> tuple[dict[str, str], list[bytes]]:
        number = self.begin(method, **metadata)
        self.send(number, *messages)
        await self.hear(lambda: number in self.ended)
        return self.facts[number], self.messages(number)


def tensor(name: str, kind: str, rows: int, contents: bytes = b"") -> bytes:
    shape = bytes_field(3, varint(rows))
    return bytes_field(5, text_field(1, name) + text_field(2, kind) + shape + contents)


def request(
    *sizes: float, id: str = "", colour: str = "red", model: str = "e", typed: bool = False
) -> bytes:
    rows, text = len(sizes), colour.encode()
    floats = np.array(sizes, dtype="<f4").tobytes()
    zeros = bytes(4 * rows)
    head = text_field(1, model) + text_field(3, id)
    if typed:
        texts = bytes_field(8, text) * rows
        return head + b"".join([
            tensor("colour", "BYTES", rows, bytes_field(5, texts)),
            tensor("size", "FP32", rows, bytes_field(5, bytes_field(6, floats))),
            tensor("weight", "INT32", rows, bytes_field(5, bytes_field(2, bytes(rows)))),
        ])  # fmt: skip
    declared = tensor("colour", "BYTES", rows) + tensor("size", "FP32", rows)
    raw = (struct.pack("<I", len(text)) + text) * rows
    values = b"".join(bytes_field(7, one) for one in (raw, floats, zeros))
    return head + declared + tensor("weight", "FP32", rows) + values


def answers(message: bytes) -> tuple[str, list[float]]:
    """The id and the raw outputs of a response."""
    id, values = "", b""
    for field, _, value in protobuf.fields(message):
        if field == 3 and isinstance(value, bytes):
            id = value.decode()
        if field == 6 and isinstance(value, bytes):
            values = value
    return id, np.frombuffer(values, dtype="<f4").tolist()


def streamed(message: bytes) -> tuple[str, str, list[float]]:
    """The error, the id and the outputs of a message of a stream."""
    fields = {field: value for field, _, value in protobuf.fields(message)}
    error, inner = fields.get(1, b""), fields.get(2, b"")
    assert isinstance(error, bytes) and isinstance(inner, bytes)
    return error.decode(), *answers(inner)


@pytest.fixture
def server(tmp_path: Path) -> ModelServer:
    made = ModelServer("e")
    made.engines["e"] = engine(tmp_path, variant(tmp_path, "m:1", breaks_on=["bad"]))
    return made


def with_client(server: ModelServer, work: Callable[[Client], Awaitable[T]]) -> T:
    async def main() -> T:
        serving = HttpServer(server.handle, GrpcService(server).accept)
        listening = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
        async with listening, Client(listening.sockets[0].getsockname()[1]) as client:
            return await asyncio.wait_for(work(client), timeout=30)

    return asyncio.run(main())


def refused(server: ModelServer, message: bytes, **metadata: str) -> tuple[str, str]:
    """The status and the message of a call that fails."""
    facts, told = with_client(server, lambda c: c.call("ModelInfer", message, **metadata))
    assert told == []
    return facts["grpc-status"], facts["grpc-message"]


@pytest.mark.parametrize("typed", [False, True])
def test_what_is_logged_is_what_http_logs_for_the_same_rows(
    server: ModelServer, tmp_path: Path, typed: bool
) -> None:
    async def work(client: Client) -> tuple[dict[str, str], list[bytes]]:
        rows = [{"colour": "red", "size": size, "weight": 0} for size in (1.5, 2.5)]
        async with httpx.AsyncClient() as http:
            url = f"http://127.0.0.1:{client.port}/invocations"
            content = json.dumps({"instances": rows})
            kind = {"content-type": "application/json", "x-request-id": "http"}
            assert (await http.post(url, content=content, headers=kind)).status_code == 200
        return await client.call("ModelInfer", request(1.5, 2.5, id="grpc", typed=typed))

    facts, _ = with_client(server, work)
    assert facts["grpc-status"] == "0"
    rows = logged(tmp_path)
    by_http = [(row.inputs, row.output, row.version) for row in rows if row.id.startswith("http")]
    by_grpc = [(row.inputs, row.output, row.version) for row in rows if row.id.startswith("grpc")]
    assert by_http == by_grpc
    assert len(by_grpc) == 2


def test_errors_have_https_sentences_and_grpcs_codes(server: ModelServer) -> None:
    assert refused(server, request(1.0, model="f")) == (
        "5", "There is no model 'f' here; this server answers for 'e'.",
    )  # fmt: skip
    assert refused(server, request(1.0, colour="bad"))[0] == "13"
    assert refused(server, b"\xff\xff")[0] == "3"
    assert refused(server, text_field(1, "e"))[1].startswith("Field 'inputs': every tensor")
    facts, _ = with_client(server, lambda client: client.call("Nothing", b""))
    assert facts["grpc-status"] == "12"
    server.engines["e"] = None
    assert refused(server, request(1.0))[0] == "14"


def test_callers_need_their_token_and_are_told_when_to_try_again(server: ModelServer) -> None:
    server.callers = Callers([Caller(name="web", sha256=SECRET, per_second=0.1)])
    assert refused(server, request(1.0))[0] == "16"

    async def work(client: Client) -> list[dict[str, str]]:
        told = {"authorization": "Bearer secret"}
        return [(await client.call("ModelInfer", request(1.0), **told))[0] for _ in range(2)]

    first, second = with_client(server, work)
    assert first["grpc-status"] == "0"
    assert second["grpc-status"] == "8"
    assert 5_000 < int(second["grpc-retry-pushback-ms"]) <= 10_000
    assert second["grpc-status-details-bin"]


def test_a_message_that_comes_byte_by_byte_ends_its_connection(tmp_path: Path) -> None:
    async def main() -> None:
        made = ModelServer("e")
        made.engines["e"] = engine(tmp_path, variant(tmp_path, "m:1"))
        serving = HttpServer(made.handle, GrpcService(made).accept)
        listening = await asyncio.get_running_loop().create_server(serving, "127.0.0.1", 0)
        async with listening, Client(listening.sockets[0].getsockname()[1]) as client:
            number = client.begin("ModelInfer")
            client.http2.send_data(number, b"\0\0\0\1\0half")
            client.push()
            await asyncio.sleep(0.2)
            (connection,) = serving.connections
            moment = time.monotonic()
            connection.heard = moment + 300  # a byte came just now
            connection.expire(moment + 250)
            assert not connection._transport.is_closing()
            connection.expire(moment + 300)
            assert connection._transport.is_closing()

    asyncio.run(main())


def test_a_message_that_is_too_large_is_refused_before_it_has_come(server: ModelServer) -> None:
    async def work(client: Client) -> dict[str, str]:
        number = client.begin("ModelInfer")
        client.http2.send_data(number, struct.pack(">BL", 0, MAX_BODY_BYTES + 1))
        client.push()
        await client.hear(lambda: number in client.ended)
        return client.facts[number]

    facts = with_client(server, work)
    assert (facts["grpc-status"], facts["grpc-message"]) == (
        "8", "The body is larger than 16 MiB. Send several requests.",
    )  # fmt: skip


def test_a_stream_answers_in_order_through_errors_and_a_new_generation(
    server: ModelServer, tmp_path: Path
) -> None:
    async def work(client: Client) -> list[tuple[str, str, list[float]]]:
        number = client.begin("ModelStreamInfer")
        running = server.engines["e"]
        assert running is not None
        for count in range(300):
            colour = "bad" if count == 50 else "red"
            client.send(number, request(count, id=f"r{count}", colour=colour), end=count == 299)
            if count == 150:
                await client.hear(lambda: len(client.messages(number)) > 20)
                new = variant(tmp_path, "m:2", adds=0.5)
                running.generation = generation(tmp_path, new, number=2)
        await client.hear(lambda: number in client.ended)
        assert client.facts[number]["grpc-status"] == "0"
        return [streamed(message) for message in client.messages(number)]

    told = with_client(server, work)
    assert [id for _, id, _ in told] == [f"r{count}" for count in range(300)]
    assert "unknown colour bad" in told[50][0]
    outputs = {id: values for error, id, values in told if not error}
    assert outputs["r0"] == [0.0]
    assert outputs["r299"] == [299.5]
    assert len(outputs) == 299
    assert {row.id for row in logged(tmp_path)} == {f"r{count}" for count in range(300)}


def test_a_cancelled_call_costs_the_others_nothing(server: ModelServer) -> None:
    async def work(client: Client) -> list[tuple[dict[str, str], list[bytes]]]:
        for _ in range(200):
            number = client.begin("ModelInfer")
            client.send(number, request(1.0))
            client.http2.reset_stream(number)
        client.push()
        return [await client.call("ModelInfer", request(2.0)) for _ in range(3)]

    for facts, (message,) in with_client(server, work):
        assert facts["grpc-status"] == "0"
        assert answers(message)[1] == [2.0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), max_size=5), st.binary())
def test_malformed_messages_get_an_error_and_the_connection_goes_on(
    server: ModelServer, cuts: list[tuple[int, bytes]], more: bytes
) -> None:
    broken = bytearray(request(1.0, 2.0, typed=bool(more)))
    for place, content in cuts:
        broken[place : place + len(content)] = content

    async def work(client: Client) -> None:
        facts, _ = await client.call("ModelInfer", bytes(broken) + more)
        assert facts["grpc-status"] in ("0", "3", "5", "8", "13"), facts
        facts, (message,) = await client.call("ModelInfer", request(7.0))
        assert answers(message)[1] == [7.0]

    with_client(server, work)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300))
def test_malformed_frames_end_their_connection_and_no_other(
    server: ModelServer, noise: bytes
) -> None:
    async def work(client: Client) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        settings_frame = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings_frame + noise)
        await writer.drain()
        facts, _ = await client.call("ModelInfer", request(7.0))
        assert facts["grpc-status"] == "0"
        writer.close()

    with_client(server, work)
