"""The rebooking desk: asks over real HTTP, one flight a request, many connections at once."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import httptools

from treadle.cli.demo.flights import Question
from treadle.kernel.clock import monotonic

CONNECTIONS = 12
IDLE_SECONDS = 10.0
"""After so long without a request, connections are made anew: the server closes idle ones."""


class _Line(asyncio.Protocol):
    """One keep-alive connection with one request under way at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self.open = True
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(
                error or ConnectionResetError("the server closed the connection")
            )

    def close(self) -> None:
        assert self._transport is not None
        self.open = False
        self._transport.close()

    async def ask(self, head: bytes, question: Question) -> int:
        assert self._transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        size = str(len(question.body)).encode()
        parts = [
            head,
            question.id.encode(),
            b"\r\ncontent-length: ",
            size,
            b"\r\n\r\n",
            question.body,
        ]
        self._transport.write(b"".join(parts))
        return await self.answer


class Desk:
    """Asks one endpoint. Counts what was sent and what was answered.

    Args:
        url: The endpoint's URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._head = (
            f"POST /invocations HTTP/1.1\r\nhost: {parts.netloc}\r\n"
            "content-type: application/json\r\nx-request-id: "
        ).encode()
        self._lines: list[_Line] = []
        self._asked_at = 0.0
        self.sent = 0
        self.answered = 0

    async def ask(self, questions: list[Question]) -> None:
        """Ask all questions, as many at once as there are connections.

        Args:
            questions: The requests.
        """
        waiting = iter(questions)
        if monotonic() - self._asked_at > IDLE_SECONDS:
            for line in self._lines:
                line.close()
        self._lines = [line for line in self._lines if line.open]
        while len(self._lines) < CONNECTIONS:
            _, line = await asyncio.get_running_loop().create_connection(
                _Line, self._host, self._port
            )
            self._lines.append(line)
        await asyncio.gather(*(self._work(line, waiting) for line in self._lines[: len(questions)]))
        self._asked_at = monotonic()

    async def _work(self, line: _Line, waiting: Iterator[Question]) -> None:
        for question in waiting:
            self.sent += 1
            status = await line.ask(self._head, question)
            self.answered += status == 200
