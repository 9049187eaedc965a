"""Requests offered at a steady rate, whatever becomes of them: what a server does when more comes than it can answer."""

import asyncio
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Offered(NamedTuple):
    """What became of what was offered. Times are of those answered with 200, in milliseconds, from when each was due."""

    per_second: float
    refused_per_second: float
    p50_ms: float
    p99_ms: float


class Line(asyncio.Protocol):
    """One connection: one request at a time, sent when it is due."""

    def __init__(self, idle: "list[Line]", took: list[float]) -> None:
        self.idle, self.took, self.refused, self.seen, self.due = idle, took, 0, b"", 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.idle.append(self)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        if not end or len(body) < int(
            head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        ):
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
    """Send a whole HTTP request so many times a second. What finds no idle connection is not sent, and counts as not answered."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
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
    """A POST of JSON, whole, as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: treadle\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body
