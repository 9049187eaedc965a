"""Serves HTTP/1.1 for the model server: httptools parses, and each answer is one write.

There is no task and no coroutine per request: on one core that is the difference between a server
that costs as much as the model and one that costs half of it. See
docs/decisions/0012-the-model-server-speaks-http-itself.md.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools

from treadle.serving.http2 import PREFACE, Http2Connection
from treadle.serving.http2_stream import Receiver, Stream
from treadle.serving.http_turns import Turns
from treadle.serving.request_reader import (
    MAX_HEAD_BYTES,
    SLOWEST_BYTES,
    STALL_SECONDS,
    Held,
    RequestReader,
)

MAX_PIPELINED = 32  # requests of one connection that may wait for their answers
PIECE_BYTES = 2048  # how much is parsed at once where it may hold many requests
IDLE_SECONDS = 75.0  # how long a connection may be silent between two requests
LAST_SECONDS = 0.1  # how long requests may still be on their way when a server is stopped
DROP_SECONDS = 2.0  # how long the rest of a refused request is read and dropped
JSON = b"content-type: application/json\r\n"
TEXT = b"content-type: text/plain; version=0.0.4\r\n"
BYTES = b"content-type: application/octet-stream\r\n"
_STATUS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_CLOSE = b"connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """A whole request and its answer. `reply` is called once, now or later.

    Args:
        connection: The connection that the request came by.
        method: The HTTP method.
        path: The path without the query.
        headers: Names in lower case, with values, in order.
        body: The request's body.
        keep_alive: Whether the connection stays open after the answer.
    """

    __slots__ = ("_connection", "_data", "body", "headers", "keep_alive", "method", "path")

    def __init__(
        self,
        connection: "Connection",
        method: str,
        path: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        self._data: bytes | None = None

    def reply(self, status: int, content: bytes, *, head: bytes = JSON) -> None:
        """Answer the request.

        Args:
            status: The HTTP status.
            content: The body.
            head: Whole header lines; a length and what the connection needs are added.
        """
        shown = content if self.method != "HEAD" else b""
        ending = b"" if self.keep_alive and not self._connection.closing else _CLOSE
        self._data = b"".join(
            (_STATUS[status], head, ending, b"content-length: %d\r\n\r\n" % len(content), shown)
        )
        self._connection.flush()

    def ready(self) -> bytes | None:
        """Return the bytes to send, or None before the answer is known."""
        return self._data


class Connection(RequestReader, asyncio.Protocol):
    """One connection: requests in order, answers in the same order.

    Args:
        server: The server that the connection belongs to.

    Attributes:
        closing: Whether no further request is taken.
        heard: When the client last sent something, by the server's monotonic clock.
    """

    def __init__(self, server: "HttpServer") -> None:
        super().__init__(server.held)
        self._server = server
        self._open: deque[Exchange] = deque()  # received and not answered yet, oldest first
        self._waiting: deque[Exchange] = deque()  # of these, what the server has not begun
        self._came = b""  # received and not parsed yet: more requests than one turn may take
        self._unread = False  # the client reads slower than it is answered
        self._first: bytes | None = b""  # None once it is clear that this is HTTP/1.1
        self.closing = False
        self.heard = self._begun_at = time.monotonic()

    # Called by the event loop

    def connection_made(self, transport: Any) -> None:
        """Begin to serve a connection.

        Args:
            transport: The connection's transport.
        """
        self._transport = transport
        self._server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget a connection; its answers are dropped.

        Args:
            _: Why it was lost; None where it was closed.
        """
        self.closing = True
        self._forget()
        self._came = b""
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what the client has sent and begin a request; what came besides waits for its turn.

        Args:
            data: The bytes.
        """
        self.heard = self._server.now
        if not self._reading:
            self._begun_at = self.heard
        if self._refused:
            self._transport.pause_reading()
            return self._server.turns.drop_more(self._transport)
        if self._first is not None and not (data := self._begun(data)):
            return None
        if self._came or self._waiting:
            self._came += data
        else:
            self._came = data
            while self._came and not self._waiting:
                self._parse_piece()
            if self._waiting:
                self._server.handle(self._waiting.popleft())
        if self._came or self._waiting:
            self._transport.pause_reading()
            self._server.turns.queue(self)
        return None

    def _begun(self, data: bytes) -> bytes:
        """What came first, if it is HTTP/1.1; HTTP/2 has a connection and a protocol of its own."""
        data = (self._first or b"") + data
        accept = self._server.accept
        if accept is not None and data.startswith(PREFACE):
            self._server.connections.discard(self)
            taken = Http2Connection(self._server, accept)
            self._transport.set_protocol(taken)
            taken.connection_made(self._transport)
            taken.data_received(data[len(PREFACE) :])
            return b""
        waits = accept is not None and PREFACE.startswith(data)
        self._first = data if waits else None
        return b"" if waits else data

    def proceed(self) -> bool:
        """Begin the oldest request that waits, else parse a piece; returns whether more is due."""
        if self._waiting:
            self._server.handle(self._waiting.popleft())
        elif self._may_parse():
            self._parse_piece()
        if self._transport.is_closing():
            self._came = b""
            return False
        if self._waiting or self._may_parse():
            return True
        if self._unread or len(self._open) >= MAX_PIPELINED:
            self._transport.pause_reading()
        elif not self._refused:
            self._transport.resume_reading()
        return False

    def _may_parse(self) -> bool:
        return bool(self._came) and not self._unread and len(self._open) < MAX_PIPELINED

    def _parse_piece(self) -> None:
        """Hand the next piece of what has come to the parser: all that is left of a body is one."""
        size = max(PIECE_BYTES, self._body_left)
        data, self._came = self._came[:size], self._came[size:]
        if self._refused:
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Only HTTP is spoken here: the request was answered as it is, and the connection ends.
            pass
        except httptools.HttpParserError:
            self._refuse(400, b'{"error":"This is no proper HTTP/1.1 request."}')
        if self._head_bytes > MAX_HEAD_BYTES and self._reading:
            self._head_too_large()

    def eof_received(self) -> bool:
        """Keep the connection for answers that are due, after the client has sent all it will."""
        self.closing = True
        return bool(self._open or self._came)

    def pause_writing(self) -> None:
        """Stop reading from a client that reads slower than it asks, until it has caught up."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the client again, once it has caught up."""
        self._unread = False
        self._server.turns.queue(self)

    # Called by the parser

    def on_message_complete(self) -> None:
        """Hand the request over."""
        self._reading, self._head_bytes = False, 0
        if self._refused:
            return
        body, self._body = bytes(self._body), bytearray()
        keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        path = self._url.partition(b"?")[0].decode("latin-1")
        exchange = Exchange(
            self, self._parser.get_method().decode(), path, self._headers, body, keep
        )
        self._open.append(exchange)
        if len(self._open) >= MAX_PIPELINED:
            self._transport.pause_reading()
        self._waiting.append(exchange)

    # Called by exchanges and the server

    def flush(self) -> None:
        """Send the answers that are ready, in the order of their requests."""
        while self._open and (data := self._open[0].ready()) is not None:
            exchange = self._open.popleft()
            self._held.change(len(exchange.body), 0)
            self._transport.write(data)
            if self._refused:
                continue  # closed when what it still sends has been dropped
            if not exchange.keep_alive or (self.closing and not (self._open or self._came)):
                self.closing = True
                self._forget()
                self._transport.close()
                return
            if len(self._open) == MAX_PIPELINED - 1:
                self._server.turns.queue(self)

    def _forget(self) -> None:
        """Drop all requests of the connection, also the one that is being read."""
        for exchange in self._open:
            self._held.change(len(exchange.body), 0)
        self._open.clear()
        self._waiting.clear()
        self._drop_body()

    def _drop_body(self) -> None:
        self._held.change(len(self._body), 0)
        self._body = bytearray()

    def drain(self) -> None:
        """Answer what was received and what is on its way, then close."""
        self.closing = True
        asyncio.get_running_loop().call_later(LAST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if not self._open and not self._reading and not self._came:
            self._transport.close()

    def expire(self, now: float) -> None:
        """Close a connection that has been silent for too long, unless it waits for an answer.

        Args:
            now: The monotonic time, in seconds.
        """
        silent, late = now - self.heard, self._is_late(now)
        if self._open or (silent < (STALL_SECONDS if self._reading else IDLE_SECONDS) and not late):
            return
        if self._unread:  # to close it in order would wait for the client
            self._transport.abort()
        elif self._reading:
            self._refuse(408, b'{"error":"The rest of the request did not come in time."}')
        else:
            self._transport.close()

    def _is_late(self, now: float) -> bool:
        """Whether a request comes so slowly, however steadily, that it holds its connection."""
        allowed = STALL_SECONDS + len(self._body) / SLOWEST_BYTES
        return self._reading and now - self._begun_at > allowed

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _invite(self) -> None:
        if not self._open:
            self._transport.write(_CONTINUE)

    def _refuse(self, status: int, content: bytes) -> None:
        """Answer a request that will not be read to its end, and close once that is sent.

        What still comes is read and dropped for a moment, because a connection that is closed
        over unread data loses its answer.
        """
        if self._refused:
            return
        self._refused = self.closing = True
        self._drop_body()
        self._transport.pause_reading()
        self._server.turns.drop_more(self._transport)
        refusal = Exchange(self, "", "", [], b"", False)
        self._open.append(refusal)
        asyncio.get_running_loop().call_later(DROP_SECONDS, self._transport.close)
        refusal.reply(status, content)


class HttpServer:
    """The connections of a server.

    Args:
        handle: Called with each request; it calls `reply` now or later.
        accept: Called with each stream of HTTP/2; None where only HTTP/1.1 is spoken.

    Attributes:
        connections: The open connections.
        now: The monotonic time in seconds, as of the last sweep.
        turns: Shares the event loop among connections that ask for much of it.
        held: Counts the bytes of bodies.
    """

    def __init__(
        self,
        handle: Callable[[Exchange], None],
        accept: Callable[[Stream], Receiver] | None = None,
    ) -> None:
        self.handle, self.accept = handle, accept
        self.connections: set[Any] = set()  # of either protocol
        self.now = time.monotonic()
        self.turns = Turns()
        self.held = Held()

    def __call__(self) -> Connection:
        """Return a new connection; the event loop calls this for each."""
        return Connection(self)

    async def sweep(self) -> None:
        """Close silent connections every second, until this is cancelled."""
        while True:
            self.now = time.monotonic()
            for connection in list(self.connections):
                connection.expire(self.now)
            await asyncio.sleep(1.0)

    async def drain(self, grace_seconds: float) -> None:
        """Answer what was received and what is on its way, then close all connections.

        Args:
            grace_seconds: After this time connections are closed at once.
        """
        until = time.monotonic() + grace_seconds
        for connection in list(self.connections):
            connection.drain()
        while self.connections and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            with suppress(Exception):
                connection.abort()
