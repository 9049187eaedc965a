"""Requests offered at a steady rate, whatever becomes of them: what a server does when more comes than it can answer."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CONNECTIONS = 256


class Offered(NamedTuple):
    per_second: float  # answered with 200
    refused_per_second: float
    p99_ms: float  # of those answered with 200, from when each was due


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
        if not end or len(body) < int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]):
            return
        if head.startswith(b"HTTP/1.1 200"):
            self.took.append(time.perf_counter() - self.due)
        else:
            self.refused += 1
        self.seen = b""
        self.idle.append(self)


async def main(url: str, request: bytes, rate: float, seconds: float) -> Offered:
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    idle: list[Line] = []
    took: list[float] = []
    lines = [(await loop.create_connection(lambda: Line(idle, took), host, port))[1] for _ in range(CONNECTIONS)]
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
                missed += 1  # every connection waits for an answer: this request is not even offered
        await asyncio.sleep(0.0005)
    ended = time.perf_counter() - started
    took.sort()
    refused = sum(line.refused for line in lines)
    return Offered(len(took) / ended, refused / ended, took[int(len(took) * 0.99)] * 1000 if took else 0.0)


def offered(url: str, request: bytes, rate: float, seconds: float) -> Offered:
    """Offer from a process of its own, on the second core."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(request)
        file.flush()
        command = ["taskset", "-c", "1", sys.executable, __file__, url, file.name, str(rate), str(seconds)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Offered(*map(float, out.split()))


if __name__ == "__main__":
    import uvloop

    found = uvloop.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), float(sys.argv[4])))
    print(*found)
