"""Blobs, limits on bodies, and the stream of events."""

import asyncio
import errno
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.http.conftest import refusal
from tests.platform.test_platforms import served
from treadle.http import bodies, heads
from treadle.http.app import application
from treadle.http.routes import MAX_BODY_BYTES
from treadle.kernel.event import acting
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import digest_of
from treadle.scope.model import About, ProjectSpec


def test_a_blob_is_stored_found_read_and_deleted(client: httpx.Client, home: Embedded) -> None:
    content = bytes(range(256)) * 20_000
    digest = digest_of(content)
    assert client.get(f"/api/blobs/{digest}/exists").json() is False
    assert client.put(f"/api/blobs/{digest}", content=content).json() == digest
    assert client.get(f"/api/blobs/{digest}/exists").json() is True
    assert client.get("/api/blobs").json() == [digest]
    answer = client.get(f"/api/blobs/{digest}")
    assert (answer.content, answer.headers["content-type"]) == (content, "application/octet-stream")
    assert client.delete(f"/api/blobs/{digest}").json() is None
    assert not home.blobs.has(digest)


def test_a_body_of_another_digest_is_refused_and_not_stored(
    client: httpx.Client, home: Embedded
) -> None:
    for digest in (digest_of(b"other"), "0" * 64, "short", digest_of(b"content").upper()):
        message = refusal(client.put(f"/api/blobs/{digest}", content=b"content"), 400)
        assert message == f"The body is not blob {digest[:12]}: its content has another digest."
    assert list(home.blobs.digests()) == []


@pytest.mark.parametrize(
    "digest", ["x", "%2e%2e", "..%2f..%2fsigning.key", "z" * 64, "É" * 64, "F" * 64, "0" * 63]
)
def test_what_is_no_digest_reaches_no_file(client: httpx.Client, digest: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/exists")):
        answer = client.request(method, f"/api/blobs/{digest}{path}")
        assert answer.status_code in (400, 404) or answer.json() in (None, False), answer.text


@pytest.mark.parametrize("digest", ["z" * 64, "F" * 64])
def test_a_name_must_be_hexadecimal_as_the_error_says(client: httpx.Client, digest: str) -> None:
    assert "64 hexadecimal digits" in refusal(client.get(f"/api/blobs/{digest}/exists"), 400)


def test_a_body_that_is_too_large_is_refused_without_reading_on(home: Embedded) -> None:
    read, sent = 0, list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        assert read < 1_000, "the server reads on and on"
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/jobs/cancel",
        "headers": [(b"host", b"127.0.0.1")],
        "query_string": b"",
    }
    asyncio.run(application(home)(scope, receive, send))
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["message"] == "The body is larger than 64 MiB."
    assert read == (MAX_BODY_BYTES >> 20) + 1


def declare(home: Embedded, name: str) -> None:
    with acting("ada"):
        home.scope.declare(spec=ProjectSpec(project=About(name=name)))


def read_events(
    client: httpx.Client, count: int, path: str, **headers: str
) -> list[dict[str, str]]:
    """The first events of the stream, as fields."""
    found: list[dict[str, str]] = [{}]
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                found[-1][name] = value
            elif len(found) == count:
                break
            else:
                found.append({})
    return found


def test_the_stream_delivers_events_as_the_history_tells_them(
    client: httpx.Client, home: Embedded
) -> None:
    for name in ("a", "b", "c"):
        declare(home, name)
    found = read_events(client, 3, "/api/v1/events/stream")
    assert [(event["id"], event["event"]) for event in found] == [
        (str(n), "ProjectDeclared") for n in (1, 2, 3)
    ]
    assert [json.loads(event["data"]) for event in found] == client.get(
        "/api/v1/events/history"
    ).json()


def test_the_stream_goes_on_after_what_was_seen(client: httpx.Client, home: Embedded) -> None:
    for name in ("a", "b", "c"):
        declare(home, name)
    assert read_events(client, 1, "/api/v1/events/stream?after=2")[0]["id"] == "3"
    again = {"last-event-id": "1"}
    assert [
        event["id"] for event in read_events(client, 2, "/api/v1/events/stream?after=0", **again)
    ] == ["2", "3"]


def test_the_stream_delivers_what_happens_while_it_is_open(
    client: httpx.Client, home: Embedded
) -> None:
    with client.stream("GET", "/api/v1/events/stream") as answer:
        declare(home, "late")
        lines = answer.iter_lines()
        assert next(lines) == "id: 1"
        assert next(lines) == "event: ProjectDeclared"
        assert json.loads(next(lines).removeprefix("data: "))["actor"] == "ada"


HOT = "/api/2.0/mlflow/runs/log-metric"


def begun(url: str, path: str, length: int, *parts: bytes) -> socket.socket:
    """A connection with a request whose body is not whole."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=20)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode())
    for part in parts:
        connection.sendall(part)
    return connection


@pytest.mark.parametrize("path", ["/api/v1/scope/declare", HOT, "/api/2.0/mlflow/runs/create"])
def test_a_body_that_does_not_come_ends_the_request(
    url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it dribbles: a byte from time to time wins no more time."""
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.5)
    began = time.monotonic()
    with begun(url, path, 1000, b"{") as silent, begun(url, path, 1000, b"{") as dribbling:
        for _ in range(6):
            time.sleep(0.1)
            dribbling.sendall(b" ")
        for connection in (silent, dribbling):
            assert connection.recv(1 << 12).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 10


def test_a_head_that_comes_byte_by_byte_ends_the_connection(
    home: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "HEAD_SECONDS", 0.5)
    whole = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with served(home) as address:
        place = urlsplit(address)
        for before in (b"", whole):  # the first request of a connection, and a later one
            with socket.create_connection((place.hostname, place.port), timeout=60) as caller:
                caller.sendall(before + b"GET /health HTTP/1.1\r\nX-Slow: ")
                until = time.monotonic() + 60
                with suppress(OSError):
                    while time.monotonic() < until:
                        caller.sendall(b"x")
                        time.sleep(0.05)
                assert time.monotonic() < until, "a head may come for ever"
        assert httpx.get(f"{address}/health").text == "OK"


def test_only_so_many_requests_wait_on_a_connection(home: Embedded) -> None:
    one = b"GET /api/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with served(home) as address:
        place = urlsplit(address)
        with socket.create_connection((place.hostname, place.port), timeout=60) as caller:
            caller.sendall(one * (heads.MOST_WAITING * 2))
            came = b"".join(iter(lambda: caller.recv(1 << 16), b""))
        assert b"HTTP/1.1 400 Bad Request" in came
        with socket.create_connection((place.hostname, place.port), timeout=60) as caller:
            many = heads.MOST_WAITING // 2
            last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            caller.sendall(one * many + last)
            came = b"".join(iter(lambda: caller.recv(1 << 16), b""))
        assert came.count(b"HTTP/1.1 200 OK") == many + 1


def test_bodies_in_hand_have_one_limit_for_all_callers(
    url: str, home: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_HELD_BYTES", 3 << 20)
    half = b" " * (1 << 20)
    held = [begun(url, "/api/v1/scope/declare", 2 << 20, half) for _ in range(3)]
    try:
        one_more = {"spec": {"project": {"name": "p" * (1 << 20)}}}
        until = time.monotonic() + 60
        while httpx.post(f"{url}/api/v1/scope/declare", json=one_more).status_code != 429:
            assert time.monotonic() < until
        assert httpx.get(f"{url}/api/v1/scope/projects").status_code == 200
    finally:
        for connection in held:
            connection.close()
    until = time.monotonic() + 60
    while httpx.post(f"{url}/api/v1/scope/declare", json=one_more).status_code == 429:
        assert time.monotonic() < until


def test_a_full_disk_is_told_as_such(
    url: str, home: Embedded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(home.blobs, "put", full)
    answer = httpx.put(f"{url}/api/blobs/{digest_of(b'x')}", content=b"x")
    assert answer.status_code == 503
    assert answer.json()["message"].startswith("The disk of the server is full.")
    home.tracking.ensure_default()
    upload = f"{url}/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/f.bin"
    assert httpx.put(upload, content=b"x").status_code == 503
    assert "No space left on device" in caplog.text


def test_what_comes_after_a_refusal_is_read_slowly_and_the_refusal_can_be_read(url: str) -> None:
    """Ten callers send 100 MB each to nothing: the server does not spend itself on reading it."""
    place, piece, sent = urlsplit(url), b" " * (1 << 20), [0] * 10

    def send(number: int) -> bytes:
        address = (place.hostname or "", place.port or 0)
        with socket.create_connection(address, timeout=60) as caller:
            head = f"POST /api/nothing HTTP/1.1\r\nHost: {place.hostname}\r\n"
            caller.sendall(f"{head}Content-Length: {100 << 20}\r\n\r\n".encode())
            with suppress(OSError):
                for _ in range(100):
                    caller.sendall(piece)
                    sent[number] += len(piece)
            with suppress(OSError):
                return caller.recv(1 << 16)
        return b""

    with ThreadPoolExecutor(10) as callers:
        answers = list(callers.map(send, range(10)))
    assert sum(sent) < 800 << 20
    assert all(answer[:12] in (b"HTTP/1.1 404", b"") for answer in answers)
    answer = httpx.post(f"{url}/api/nothing", content=piece * 8)  # alone, it is read to its end
    assert (answer.status_code, answer.headers["connection"]) == (404, "close")
