"""One request and its answer on an HTTP/2 connection, within the windows of both sides."""

from typing import Protocol

from treadle.serving.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEADERS,
    WINDOW,
    Code,
    frame,
    reset,
)
from treadle.serving.request_reader import HeaderList

STREAM_WINDOW = 1 << 20


class Receiver(Protocol):
    """Takes what comes on a stream."""

    @property
    def owes_since(self) -> float | None:
        """Since when the client owes the rest of a message, by the monotonic clock; or None."""
        ...

    def received(self, data: bytes) -> None:
        """Take a piece of the stream.

        Args:
            data: The piece.
        """
        ...

    def ended(self) -> None:
        """Take note that the client has sent all it will."""
        ...

    def stop(self) -> None:
        """Take no more messages, and end the stream once those that came are answered."""
        ...

    def cancelled(self) -> bool:
        """Drop the stream; returns whether work for it goes on, which then ends in `settled`."""
        ...


class Carrier(Protocol):
    """The connection of a stream.

    Attributes:
        window: How many bytes the client takes on all streams together.
        lingering: How many cancelled streams are still worked for.
    """

    window: int
    lingering: int

    def hold(self, before: int, now: int) -> bool:
        """Count a stream's bytes that wait; returns whether there is room for them."""
        ...

    def write(self, data: bytes) -> None:
        """Send frames."""
        ...

    def finished(self, stream: "Stream") -> None:
        """Forget a stream."""
        ...


class Stream:
    """One request and its answer.

    Args:
        connection: The connection.
        number: The stream's number.
        headers: The request's headers, those of HTTP/2 (`:path`) among them.
        window: How many bytes the client takes before it says more.

    Attributes:
        receiver: Takes what comes.
        window: How many bytes the client takes now.
        closed: Whether nothing is sent any more.
        half: Whether the client has sent all it will.
    """

    __slots__ = (
        "_connection", "_held", "_trailers", "_uncredited", "_unsent", "closed", "half", "headers",
        "number", "receiver", "window",
    )  # fmt: skip

    def __init__(self, connection: Carrier, number: int, headers: HeaderList, window: int) -> None:
        self._connection, self.number, self.headers, self.window = (
            connection, number, headers, window,
        )  # fmt: skip
        self.closed = self.half = False
        self.receiver: Receiver
        self._unsent = bytearray()
        self._trailers: bytes | None = None
        self._uncredited = self._held = 0

    @property
    def behind(self) -> bool:
        """Whether the client has not taken yet what it was sent."""
        return bool(self._unsent)

    def send(self, data: bytes, *, head: bytes = b"", trailers: bytes | None = None) -> None:
        """Send a part of the answer, as far as the client takes it now; the rest follows.

        Args:
            data: The bytes.
            head: A header block that is sent first; empty for none.
            trailers: A header block that ends the stream; None where more follows.
        """
        if self.closed:
            return
        self._unsent += data
        self._trailers = trailers
        first = frame(HEADERS, END_HEADERS, self.number, head) if head else b""
        self._connection.write(first + self.sendable())

    def sendable(self) -> bytes:
        """Take the frames that may be sent now."""
        frames: list[bytes] = []
        while self._unsent:
            room = min(self.window, self._connection.window, FRAME_BYTES)
            if room <= 0:
                return b"".join(frames)
            piece = bytes(self._unsent[:room])
            del self._unsent[:room]
            self.window -= len(piece)
            self._connection.window -= len(piece)
            frames.append(frame(DATA, 0, self.number, piece))
        if self._trailers is not None:
            flags = END_HEADERS | END_STREAM
            frames.append(frame(HEADERS, flags, self.number, self._trailers))
            if not self.half:  # what the client still sends is not wanted
                frames.append(reset(self.number, Code.NO_ERROR))
            self._connection.finished(self)
        return b"".join(frames)

    def took(self, size: int) -> None:
        """Count what came, until it is given back to the client's window.

        Args:
            size: How many bytes came.
        """
        self._uncredited += size

    def credit(self) -> None:
        """Let the client send as much more as has come since the last time."""
        if self._uncredited >= STREAM_WINDOW // 2 and not (self.half or self.closed):
            content = self._uncredited.to_bytes(4, "big")
            self._connection.write(frame(WINDOW, 0, self.number, content))
            self._uncredited = 0

    def hold(self, size: int) -> bool:
        """Say how many bytes of the stream wait; returns whether there is room for them.

        Args:
            size: How many bytes wait now.
        """
        before, self._held = self._held, size
        return self._connection.hold(before, size)

    def cancel(self) -> None:
        """Drop the stream; what is computed for it already is not sent."""
        self._connection.finished(self)
        if self.receiver.cancelled():
            self._connection.lingering += 1

    def settled(self) -> None:
        """Say that the work for a cancelled stream is over."""
        self._connection.lingering -= 1
