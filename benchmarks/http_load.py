"""A load of our own, for machines without wrk: ``python http_load.py URL BODY-FILE CONNECTIONS SECONDS`` prints requests/s."""

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit


class Line(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, request: bytes) -> None:
        self.request, self.answered, self.wanted, self.seen = request, 0, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        head, end, body = self.seen.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            assert head.startswith(b"HTTP/1.1 200"), head
            self.answered, self.seen = self.answered + 1, b""
            self.transport.write(self.request)


async def main(url: str, body: bytes, connections: int, seconds: float) -> float:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\ncontent-length: "
    request = f"{head}{len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    lines = [(await loop.create_connection(lambda: Line(request), host, port))[1] for _ in range(connections)]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    return sum(line.answered for line in lines) / (time.perf_counter() - started)


if __name__ == "__main__":
    rate = asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), float(sys.argv[4])))
    print(f"{rate:.1f}")
