"""Attackers of a server: requests of every route with values out of place, and raw HTTP."""

import random
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx

import treadle.http.mlflow as mlflow
from tests.http.canaries import wrong
from tests.http.planted import Things
from tests.http.rights_cases import (
    OPERATIONS,
    Request,
    mlflow_request,
    own_request,
    prefixes,
    sample,
    texts,
)
from treadle.http.mlflow.wire import PREFIXES
from treadle.http.mlflow.writes import _WRITES

HOSTILE: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**63, 2**70, 1e308, -0.0, [], {}, [[]], {"": {}}, [None]),
    *("", " ", "0", "-1", "1e400", "NaN", "9" * 30, "9" * 5000, "²", "a\0b", "\ud7ff", "\u202e"),
    *(
        "'",
        '"',
        "`",
        "\\",
        "%",
        "_",
        "*",
        ";",
        "--",
        "/*",
        "' OR 1=1 --",
        "%00",
        "%2e%2e",
        "x" * 70_000,
    ),
    *(
        "../..",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://",
        "models:/",
        "runs:/",
        "http://[",
        "a\r\nb: c",
    ),
    *(
        "metrics.a < 1",
        "name LIKE '%'",
        "params.`a` = 'b'",
        "((((",
        "ORDER BY",
        "a DESC, b",
        "tags.",
    ),
    *("2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "{{7*7}}", "$(id)"),
]
"""Values that are wrong, extreme or meant for another language."""
HEADERS: list[tuple[str, str]] = [
    *(("accept", "application/msgpack"), ("content-type", "application/msgpack")),
    *(("content-type", "multipart/form-data; boundary=x"), ("content-encoding", "gzip")),
    *(("range", "bytes=0-"), ("range", "bytes=9-1"), ("range", "bytes=-99999999999999999999")),
    *(("if-none-match", "*"), ("expect", "100-continue"), ("x-http-method-override", "DELETE")),
    *(("x-mlflow-experiment-id", "1"), ("x-mlflow-experiment-id", "²"), ("origin", "http://x")),
    *(("origin", "http://["), ("last-event-id", "-1"), ("cookie", "a=b"), ("te", "trailers")),
]
RAW = [
    b"GET %s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET http://%h%s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s HTTP/1.0\r\n%a\r\n",
    b"GET %s HTTP/1.1\r\n%a\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nHost: other\r\n%a\r\n",
    b"GET //%s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s%%00%%ff HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s?%%=%%zz&&==&a=%%ff HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s#part HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s HTTP/9.9\r\nHost: %h\r\n\r\n",
    b"PROPFIND %s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"HEAD %s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"CONNECT %h HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"TRACE %s HTTP/1.1\r\nHost: %h\r\n%a\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\n" + b"X: y\r\n" * 300 + b"%a\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n%a\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n%a\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aContent-Length: -1\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aContent-Length: 9\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aContent-Length: 99999999999999\r\n\r\n{}",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: %h\r\n%aTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
    b"0\r\n\r\nGET %s HTTP/1.1\r\nHost: %h\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nAuthorization: Basic ////\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: [\r\n%a\r\n",
    b"GET %s HTTP/1.1\r\nHost: %h\r\nOrigin: http://[::\r\n%a\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\0" * 100,
    b"\r\n\r\n",
]
"""Requests as bytes: ``%s`` is a path, ``%h`` the host, ``%a`` the header of who asks, ``%%`` %."""

REST_SECONDS = 0.2
"""How long an attacker rests after a request without an answer: a server that ended comes again."""


class Sent(NamedTuple):
    """A request of the fuzzer."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


class Judge:
    """Counts the answers by who asked and by status, and keeps what is wrong with them."""

    def __init__(self, guesses: list[str]) -> None:
        self.guesses, self.counts, self.wrong = guesses, Counter[tuple[str, int]](), list[str]()
        self._lock = threading.Lock()

    def judge(self, role: str, sent: Any, status: int, headers: Any, body: str) -> None:
        """Count an answer."""
        what = wrong(role, status, headers, body, self.guesses)
        with self._lock:
            self.counts[role, status] += 1
            if what:
                self.wrong.append(f"{role}: {sent!r:.900} {what}")

    def unanswered(self, role: str, sent: Any, error: Exception) -> None:
        """Keep that a well-formed request got no answer."""
        with self._lock:
            self.wrong.append(f"{role}: {sent!r:.900} got no answer: {error!r}")


class Attacker:
    """Who sends what no client would, as one role.

    Args:
        url: The server.
        role: Who asks.
        secret: The token of who asks; None for none.
        own: Things of the project in which the role is held.
        guesses: Names of things of both projects.
        seed: Equal seeds make equal requests.
    """

    def __init__(
        self, url: str, role: str, secret: str | None, own: Things, guesses: list[str], seed: int
    ) -> None:
        self.url, self.role, self.own, self.guesses = url, role, own, guesses
        self.chance = random.Random(seed)
        self.headers = {"authorization": f"Bearer {secret}"} if secret else {}

    def attack(self, judge: Judge, *, seconds: float) -> None:
        """Send requests for a while."""
        until = time.monotonic() + seconds
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=60) as client:
            while time.monotonic() < until:
                if self.chance.random() < 0.1:
                    self._send_raw(judge)
                else:
                    self._send(client, judge)

    def _send(self, client: httpx.Client, judge: Judge) -> None:
        sent = self._request()
        try:
            request = client.build_request(
                sent.method, sent.path, content=sent.body, headers=sent.headers
            )
        except (httpx.InvalidURL, ValueError):
            return  # nothing that a client can send
        try:
            try:
                answer = client.send(request)
            except httpx.RemoteProtocolError:
                # A connection that the server closed as idle meanwhile; clients use another then.
                with httpx.Client(headers=self.headers, timeout=60) as another:
                    answer = another.send(request)
        except httpx.LocalProtocolError:
            return
        except httpx.TransportError as error:
            judge.unanswered(self.role, sent, error)
            time.sleep(REST_SECONDS)
            return
        judge.judge(self.role, sent, answer.status_code, answer.headers, answer.text)

    def _request(self) -> Sent:
        kinds = (self._of_mlflow, self._of_operation, self._of_file, self._of_hot_write)
        request = self.chance.choices(kinds, (45, 35, 12, 8))[0]()
        method, path, body = request
        if self.chance.random() < 0.05:
            method = self.chance.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "X"])
        if self.chance.random() < 0.05:
            body = body[: len(body) // 2] + self.chance.randbytes(self.chance.randrange(40))
        chosen = [self.chance.choice(HEADERS)] if self.chance.random() < 0.15 else []
        return Sent(method, path, body, dict(chosen))

    def _of_mlflow(self) -> tuple[str, str, bytes]:
        call = self._seldom_deleting(mlflow.CALLS, lambda one: f"{one.path} {one.methods}")
        request, _ = mlflow_request(call, self.own, self.chance.choice(prefixes(call)))
        fields = [*call.ask.__struct_fields__, "run_uuid"]
        places = [(self.chance.choice(fields),) for _ in range(self.chance.randrange(3))]
        return self._mutated(request, places)

    def _of_operation(self) -> tuple[str, str, bytes]:
        path, operation = self._seldom_deleting(sorted(OPERATIONS.items()), lambda one: one[0])
        request = own_request(path, operation, self.own)
        every = [
            place
            for parameter in operation.parameters.values()
            for place in [*texts(parameter.kind, (parameter.name,)), (parameter.name,)]
        ]
        places = self.chance.choices(every, k=self.chance.randrange(3)) if every else []
        for place in places:
            if place[0] not in request.arguments:
                given = sample(operation.parameters[place[0]].kind, self.own, place[0])
                request = request._replace(arguments={**request.arguments, place[0]: given})
        return self._mutated(request, places)

    def _of_hot_write(self) -> tuple[str, str, bytes]:
        path, write = self.chance.choice(sorted(_WRITES.items()))
        given = {"run_id": self.own["run"][0], "key": "k", "value": 1, "timestamp": 1}
        place = (self.chance.choice(write.kind.__struct_fields__),)
        return self._mutated(Request("POST", f"{PREFIXES[0]}/{path}", given), [place])

    def _of_file(self) -> tuple[str, str, bytes]:
        name = quote(str(self._value()), safe="/:")
        paths = [
            *("/", "/report", "/api", "/version", "/health", "/v1/traces", "/api/openapi.json"),
            *(f"/api/blobs/{name}", f"/api/blobs/{name}/exists", "/api/blobs?after=" + name),
            *(f"/api/blobs/{name}?tree={name}", f"/api/blobs/{name}?run={name}"),
            *(f"/api/2.0/mlflow-artifacts/{way}/{name}" for way in ("artifacts", "presigned")),
            f"/api/2.0/mlflow-artifacts/artifacts?path={name}",
            f"/api/2.0/mlflow-artifacts/parts/{name}/1",
            f"/{name}",
        ]
        step = self.chance.choice(["create", "complete", "abort"])
        paths.append(f"/api/2.0/mlflow-artifacts/mpu/{step}/{name}")
        method = self.chance.choice(["GET", "GET", "GET", "PUT", "POST", "DELETE"])
        body = self.chance.choice([b"", b"{}", b'{"num_parts":1}', b'{"upload_id":"x"}', b"[]"])
        return method, self.chance.choice(paths), body

    def _mutated(self, request: Request, places: list[tuple[Any, ...]]) -> tuple[str, str, bytes]:
        for place in places:
            with suppress(TypeError, KeyError, IndexError, AttributeError):
                request = request._replace(place=place)
                arguments = request.arguments
                method, path, body = request.with_value(self._value())
                return method, path, body
            request = request._replace(arguments=arguments)
        return request._replace(place=()).with_value(None)

    def _value(self) -> Any:
        pool = self.chance.random()
        if pool < 0.4:
            return self.chance.choice(self.guesses)
        if pool < 0.5:
            return self.chance.choice(self.own[self.chance.choice(sorted(self.own))])
        return self.chance.choice(HOSTILE)

    def _seldom_deleting(self, calls: Any, said: Any) -> Any:
        """What is deleted cannot be attacked any more."""
        ends = ("delete", "remove", "revoke", "take", "DELETE", "forget")
        while True:
            call = self.chance.choice(calls)
            if not any(word in said(call) for word in ends) or self.chance.random() < 0.03:
                return call

    def _send_raw(self, judge: Judge) -> None:
        _, path, _ = self._of_file() if self.chance.random() < 0.5 else self._of_operation()
        host, port = urlsplit(self.url).hostname or "", urlsplit(self.url).port
        asker = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        fills = {b"%s": path.encode(), b"%h": f"{host}:{port}".encode(), b"%a": asker.encode()}
        sent = self.chance.choice(RAW).replace(b"%%", b"\x1a")
        for place, fill in fills.items():
            sent = sent.replace(place, fill)
        sent = sent.replace(b"\x1a", b"%")
        try:
            connection = socket.create_connection((host, port), timeout=60)
        except OSError as error:
            judge.unanswered(self.role, sent, error)
            time.sleep(REST_SECONDS)
            return
        with connection, suppress(OSError):
            connection.settimeout(2)
            connection.sendall(sent)
            self._judge_raw(connection, sent, judge)

    def _judge_raw(self, connection: socket.socket, sent: bytes, judge: Judge) -> None:
        """The first answer, if one comes; a request without an end may wait for one."""
        came = b""
        with suppress(TimeoutError):
            while len(came) < 1 << 20 and (part := connection.recv(65536)):
                came += part
                connection.settimeout(0.05)
        head, _, body = came.decode(errors="replace").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        if first.startswith("HTTP/1."):
            headers = {
                name.lower(): value for name, _, value in (one.partition(":") for one in lines)
            }
            judge.judge(self.role, sent, int(first.split()[1]), headers, body)
