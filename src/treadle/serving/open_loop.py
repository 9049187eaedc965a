"""Offers requests at a steady rate, to measure a server under more load than it can answer."""

import asyncio
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Offered(NamedTuple):
    """What became of the requests that were offered.

    Attributes:
        per_second: Answers with status 200 a second.
        refused_per_second: Answers with another status a second.
        p50_ms: The median time to an answer with 200 since the request was due, in milliseconds.
        p99_ms: The 99th percentile of that time.
    """

    per_second: float
    refused_per_second: float
    p50_ms: float
    p99_ms: float


class Line(asyncio.Protocol):
    """One connection, which sends one request at a time.

    Args:
        idle: The connections without a request; this one adds itself.
        took: Seconds that each answer with 200 took; this connection adds its own.
    """

    def __init__(self, idle: "list[Line]", took: list[float]) -> None:
        self.idle, self.took = idle, took
        self.refused = 0
        self.seen = b""
        self.due = 0.0

    def connection_made(self, transport: Any) -> None:
        """Become idle.

        Args:
            transport: The connection's transport.
        """
        self.transport = transport
        self.idle.append(self)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; become idle with the whole.

        Args:
            data: The bytes.
        """
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length):
            return
        if head.startswith(b"HTTP/1.1 200"):
            self.took.append(time.perf_counter() - self.due)
        else:
            self.refused += 1
        self.seen = b""
        self.idle.append(self)


async def offer(
    url: str, request: bytes, rate: float, seconds: float, *, connections: int = 256
) -> Offered:
    """Send a request at a steady rate, whatever becomes of it.

    A request that finds no idle connection is not sent, and counts as not answered.

    Args:
        url: The server's URL.
        request: A whole HTTP request.
        rate: Requests a second.
        seconds: For how long requests are sent.
        connections: How many connections are opened.

    Raises:
        OSError: The server cannot be reached.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    idle: list[Line] = []
    took: list[float] = []
    lines = [
        (await loop.create_connection(lambda: Line(idle, took), host, port))[1]
        for _ in range(connections)
    ]
    started = time.perf_counter()
    sent, missed = 0, 0
    while (now := time.perf_counter()) < started + seconds:
        while sent + missed < (now - started) * rate:
            if idle:
                line = idle.pop()
                line.due = started + (sent + missed) / rate
                line.transport.write(request)
                sent += 1
            else:
                missed += 1
        await asyncio.sleep(0.0005)
    ended = time.perf_counter() - started
    took.sort()
    refused = sum(line.refused for line in lines)
    for line in lines:
        line.transport.abort()

    def quantile(part: float) -> float:
        return took[int(len(took) * part)] * 1000 if took else 0.0

    return Offered(len(took) / ended, refused / ended, quantile(0.5), quantile(0.99))


def request_of(path: str, body: bytes) -> bytes:
    """Return a whole POST request.

    Args:
        path: The path.
        body: The body, as JSON.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nhost: treadle\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
