"""Serves HTTP/2 without TLS for the model server's gRPC: streams come in, frames go out.

A connection that begins with HTTP/2's preface comes here from `http.py`, so gRPC needs no port of
its own. Source: RFC 9113. See docs/decisions/0027-grpc-on-the-same-port.md.
"""

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any, Protocol

from treadle.serving.header_blocks import MAX_BLOCK_BYTES, BadBlock
from treadle.serving.http2_frames import (
    MAX_WINDOW,
    PING,
    SETTINGS,
    WINDOW,
    Code,
    FrameReader,
    Violation,
    frame,
    go_away,
    reset,
)
from treadle.serving.http2_stream import STREAM_WINDOW, Receiver, Stream
from treadle.serving.request_reader import (
    MAX_BODY_BYTES,
    SLOWEST_BYTES,
    STALL_SECONDS,
    HeaderList,
    Held,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_HELD_BYTES = 2 * MAX_BODY_BYTES  # of messages that one connection has sent in part
MAX_STREAMS = 128  # calls of one connection that may be open at once
OWN_WINDOW = 16 << 20
IDLE_SECONDS, LAST_SECONDS = 75.0, 0.1
_FIRST_WINDOW = 65_535  # of both sides, until they say otherwise
_OURS = {3: MAX_STREAMS, 4: STREAM_WINDOW, 6: MAX_BLOCK_BYTES}


class Keeper(Protocol):
    """Who keeps the open connections."""

    connections: set[Any]
    now: float
    held: Held


class Http2Connection(FrameReader, asyncio.Protocol):
    """One connection.

    Args:
        keeper: Keeps the open connections.
        accept: Returns what takes a new stream's data.

    Attributes:
        window: How many bytes the client takes on all streams together.
        lingering: How many cancelled streams are still worked for.
        heard: When the client last sent something.
    """

    def __init__(self, keeper: Keeper, accept: Callable[[Stream], Receiver]) -> None:
        super().__init__()
        self._keeper, self._accept = keeper, accept
        self._streams: dict[int, Stream] = {}
        self._last = 0  # the highest stream that was opened
        self._came, self._scheduled, self._unread, self._draining = b"", False, False, False
        self._uncredited = self._held = self.lingering = 0
        self._stream_window = self.window = _FIRST_WINDOW
        self.heard = time.monotonic()

    # Called by the event loop

    def connection_made(self, transport: Any) -> None:
        """Begin to serve: say what this side takes.

        Args:
            transport: The connection's transport.
        """
        self._transport = transport
        self._keeper.connections.add(self)
        content = b"".join(struct.pack(">HL", *setting) for setting in _OURS.items())
        more = (OWN_WINDOW - _FIRST_WINDOW).to_bytes(4, "big")
        self.write(frame(SETTINGS, 0, 0, content) + frame(WINDOW, 0, 0, more))

    def connection_lost(self, _: Exception | None) -> None:
        """Drop the calls of a connection.

        Args:
            _: Why it was lost.
        """
        self._came = b""
        self._keeper.connections.discard(self)
        for stream in list(self._streams.values()):
            stream.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the client has sent.

        Args:
            data: The bytes.
        """
        self.heard = self._keeper.now
        self._came = self._came + data if self._came else data
        if not self._scheduled:
            self._go_on()

    def eof_received(self) -> bool:
        """Keep the connection for answers that are due, after the client has sent all it will."""
        self._draining = True
        for stream in list(self._streams.values()):
            if stream.receiver.owes_since is not None:  # the rest cannot come any more
                stream.cancel()
        return bool(self._streams)

    def pause_writing(self) -> None:
        """Stop reading from a client that reads slower than it asks."""
        self._unread = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the client again, once it has caught up."""
        self._unread = False
        if not self._scheduled:
            self._go_on()

    def _go_on(self) -> None:
        """Take the connection's share of the event loop's turn."""
        self._scheduled = False
        if self._transport.is_closing() or self._unread:
            return None
        try:
            self._came, self._scheduled = self.take_frames(self._came)
        except Violation as violation:
            return self._end(violation.code)
        except BadBlock:
            return self._end(Code.COMPRESSION_ERROR)
        if self._scheduled:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        elif not self._unread and not self._transport.is_closing():
            self._transport.resume_reading()
        return None

    # Called for frames

    def on_headers(self, number: int, headers: HeaderList, ends: bool) -> None:
        """Open a stream by its headers, or take the trailers of what a client sends.

        Args:
            number: The stream's number.
            headers: Its headers.
            ends: Whether nothing follows them.

        Raises:
            Violation: The stream is open and does not end by this.
        """
        stream = self._streams.get(number)
        if stream is not None:
            if not ends or stream.half:
                raise Violation(Code.PROTOCOL_ERROR)
            stream.half = True
            return stream.receiver.ended()
        if number <= self._last or self._draining:
            return None  # of a stream that was answered or cancelled, or that comes too late
        self._last = number
        if len(self._streams) + self.lingering >= MAX_STREAMS:
            return self.write(reset(number, Code.REFUSED_STREAM))
        stream = Stream(self, number, headers, self._stream_window)
        stream.half = ends
        self._streams[number] = stream
        stream.receiver = self._accept(stream)
        if ends and not stream.closed:
            stream.receiver.ended()
        return None

    def on_data(self, number: int, data: bytes, size: int, ends: bool) -> None:
        """Hand a piece of a stream over.

        Args:
            number: The stream's number.
            data: The piece.
            size: How much of the windows it has taken.
            ends: Whether it is the last one.

        Raises:
            Violation: The stream was never opened.
        """
        self._credit(size)
        stream = self._streams.get(number)
        if stream is None:
            if number > self._last and not self._draining:
                raise Violation(Code.PROTOCOL_ERROR)
            return None  # it was answered or cancelled already
        if stream.half:
            self.write(reset(number, Code.STREAM_CLOSED))
            return stream.cancel()
        stream.half = ends
        stream.took(size)
        if data:
            stream.receiver.received(data)
        if ends and not stream.closed:
            stream.receiver.ended()
        return None

    def on_reset(self, number: int) -> None:
        """Cancel a stream.

        Args:
            number: The stream's number.

        Raises:
            Violation: The stream was never opened.
        """
        if number == 0 or (number > self._last and not self._draining):
            raise Violation(Code.PROTOCOL_ERROR)
        if number in self._streams:
            self._streams[number].cancel()

    def on_window_size(self, size: int) -> None:
        """Take note of how much the client takes on each stream.

        Args:
            size: How many bytes.

        Raises:
            Violation: No window may be as large.
        """
        if size > MAX_WINDOW:
            raise Violation(Code.FLOW_CONTROL_ERROR)
        for stream in self._streams.values():
            stream.window += size - self._stream_window
        self._stream_window = size
        self._send_waiting()

    def on_window(self, number: int, more: int) -> None:
        """Send what has waited for the client to take more.

        Args:
            number: The stream's number; 0 for all.
            more: How many bytes more the client takes.

        Raises:
            Violation: No window may be as large.
        """
        holder: Any = self if number == 0 else self._streams.get(number)
        if holder is None:
            return
        holder.window += more
        if holder.window > MAX_WINDOW:
            raise Violation(Code.FLOW_CONTROL_ERROR)
        self._send_waiting()

    # Called by streams and the keeper

    def write(self, data: bytes) -> None:
        """Send frames.

        Args:
            data: The frames.
        """
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def finished(self, stream: Stream) -> None:
        """Forget a stream whose answer was sent.

        Args:
            stream: The stream.
        """
        stream.closed = True
        stream.hold(0)
        self._streams.pop(stream.number, None)
        if self._draining and not self._streams:
            asyncio.get_running_loop().call_soon(self._transport.close)

    def hold(self, before: int, now: int) -> bool:
        """Count a stream's bytes that wait; returns whether there is room for them.

        Args:
            before: How many waited until now.
            now: How many wait now.
        """
        self._held += now - before
        return self._keeper.held.change(before, now) and self._held <= MAX_HELD_BYTES

    def drain(self) -> None:
        """Take what is on its way, answer it, then close."""
        self.write(go_away(MAX_WINDOW, Code.NO_ERROR))
        asyncio.get_running_loop().call_later(LAST_SECONDS, self._leave)

    def _leave(self) -> None:
        """Take no more calls, and have those that are open end when they are answered."""
        self._draining = True
        self.write(go_away(self._last, Code.NO_ERROR))
        for stream in list(self._streams.values()):
            stream.receiver.stop()
        if not self._streams:
            self._transport.close()

    def expire(self, now: float) -> None:
        """Close a connection that has been silent for too long; ask one that waits if it is there.

        Args:
            now: The monotonic time, in seconds.
        """
        silent = now - self.heard
        owed = [stream.receiver.owes_since for stream in self._streams.values()]
        since = min((moment for moment in owed if moment is not None), default=now)
        owes = self._unread or self._transport.is_closing() or since < now
        late = now - since > STALL_SECONDS + MAX_BODY_BYTES / SLOWEST_BYTES
        if (owes and silent > STALL_SECONDS) or silent > 2 * IDLE_SECONDS or late:
            self._transport.abort()
        elif silent > IDLE_SECONDS and self._streams:
            self.write(frame(PING, 0, 0, bytes(8)))
        elif silent > IDLE_SECONDS:
            self._end(Code.NO_ERROR)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _credit(self, size: int) -> None:
        """Give the connection's window back: what one stream holds must not stop another."""
        self._uncredited += size
        if self._uncredited >= OWN_WINDOW // 2:
            self.write(frame(WINDOW, 0, 0, self._uncredited.to_bytes(4, "big")))
            self._uncredited = 0

    def _send_waiting(self) -> None:
        for stream in list(self._streams.values()):
            if stream.behind:
                self.write(stream.sendable())

    def _end(self, code: Code) -> None:
        self.write(go_away(self._last, code))
        self._came = b""
        self._transport.close()
