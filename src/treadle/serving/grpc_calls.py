"""Calls by gRPC on the streams of HTTP/2: messages come in, and are answered in their order."""

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Callable

from treadle.kernel.errors import Invalid, TooLarge, TreadleError, Unavailable
from treadle.serving.grpc_status import DONE, HEAD, Unimplemented, failed
from treadle.serving.http import MAX_PIPELINED
from treadle.serving.http2_stream import Stream
from treadle.serving.protobuf import bytes_field, text_field
from treadle.serving.request_reader import MAX_BODY_BYTES, HeaderList

Handle = Callable[[bytes, "Turn"], None]
"""Answers a message: it calls the turn's `answer` or `fail`, now or later."""

_PREFIX_BYTES = 5
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}
log = logging.getLogger(__name__)


class ServerFailed(TreadleError):
    """The server failed on a message; its log says more."""


class Turn:
    """One message of a call, and its answer.

    Args:
        call: The call.

    Attributes:
        id: The request's id, once it is known; an error in a stream names it.
        headers: The call's headers.
    """

    __slots__ = ("_call", "data", "headers", "id")

    def __init__(self, call: "Call") -> None:
        self._call = call
        self.headers = call.headers
        self.data: bytes | None = None
        self.id = ""

    @property
    def streams(self) -> bool:
        """Whether further messages may follow on the same call."""
        return self._call.streams

    def answer(self, message: bytes) -> None:
        """Answer the message.

        Args:
            message: The answer.
        """
        self._call.answered(self, message)

    def fail(self, error: TreadleError) -> None:
        """Answer the message by an error.

        Args:
            error: The error.
        """
        self._call.failed(self, error)


class Call:
    """A call.

    Args:
        stream: Its stream.
        handle: Answers each message.
        streams: Whether the client may send several messages, each of which is answered.

    Attributes:
        headers: The call's headers.
        streams: Whether the client may send several messages.
    """

    def __init__(self, stream: Stream, handle: Handle, *, streams: bool) -> None:
        self.headers: HeaderList = stream.headers
        self.streams = streams
        self._stream, self._handle = stream, handle
        self._came = bytearray()
        self._turns: deque[Turn] = deque()  # messages that wait for their answers, oldest first
        self._ended = self._begun = self._taking = self._scheduled = False
        self._stopping = self._lingers = self._answers = False
        self._owes_since = time.monotonic()

    @property
    def owes_since(self) -> float | None:
        """Since when the client owes the rest of a message, by the monotonic clock."""
        owes = not self._ended and (bool(self._came) or not (self._begun or self.streams))
        return self._owes_since if owes else None

    def received(self, data: bytes) -> None:
        """Take a piece of the stream.

        Args:
            data: The piece.
        """
        if not self._came:
            self._owes_since = time.monotonic()
        self._came += data
        if not self._stream.hold(len(self._came)):
            held = TooLarge(
                "The calls of this connection, or of all together, hold too many unfinished "
                "messages. Send fewer large ones at once."
            )
            return self._end(failed(held))
        return self._go_on()

    def ended(self) -> None:
        """Take note that the client has sent all it will."""
        self._ended = True
        self._go_on()

    def cancelled(self) -> bool:
        """Drop the call; returns whether messages of it are still worked on."""
        self._came.clear()
        self._lingers = bool(self._turns)
        return self._lingers

    def stop(self) -> None:
        """Take no more messages, and end the call once those that came are answered."""
        self._stopping = self.streams
        self._go_on()

    def answered(self, turn: Turn, message: bytes) -> None:
        """Take the answer of a message.

        Args:
            turn: The message.
            message: The answer.
        """
        turn.data = bytes_field(2, message) if self.streams else message
        self._flush()

    def failed(self, turn: Turn, error: TreadleError) -> None:
        """Take the error of a message; a stream goes on after it.

        Args:
            turn: The message.
            error: The error.
        """
        if not self.streams or error.status == 401:
            turn.data = b""
            self._end(failed(error))
            return self._flush()
        turn.data = text_field(1, error.message)
        if turn.id:
            turn.data += bytes_field(2, text_field(3, turn.id))
        return self._flush()

    def _go_on(self) -> None:
        """Take messages that are whole, as many as may wait, and this call's share of the turn."""
        self._scheduled = False
        if self._taking or self._stream.closed:
            return
        self._taking = True
        left = MAX_PIPELINED
        try:
            while left and self._has_room() and (message := self._next()) is not None:
                left -= 1
                self._take(message)
        except TreadleError as error:
            self._end(failed(error))
        finally:
            self._taking = False
        if not self._stream.closed:
            self._after(more=not left)

    def _after(self, *, more: bool) -> None:
        """Say what still waits, then go on later, let the client send more, or end."""
        self._stream.hold(len(self._came))
        if more and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on)
        if self._size() is None:
            self._stream.credit()
        if self._turns or self._stream.behind or more:
            return
        if self._stopping:
            self._end(failed(Unavailable("This server stops. Open the stream again.")))
        elif self._ended:
            self._finish()

    def _finish(self) -> None:
        """End a call of which all was answered."""
        if self._came:
            self._end(failed(Invalid("The call ends inside of a message.")))
        elif not self._begun and not self.streams:
            self._end(failed(Invalid("The call has no message.")))
        else:
            self._end(DONE)

    def _has_room(self) -> bool:
        most = MAX_PIPELINED if self.streams else 1
        room = len(self._turns) < most and not self._stream.behind
        return room and not (self._stopping or self._stream.closed)

    def _size(self) -> int | None:
        """The size of the message that is whole, or None.

        Raises:
            TooLarge: The message is larger than is taken.
        """
        if len(self._came) < _PREFIX_BYTES:
            return None
        size = int.from_bytes(self._came[1:_PREFIX_BYTES], "big")
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return size if len(self._came) >= _PREFIX_BYTES + size else None

    def _next(self) -> bytes | None:
        """Take the next whole message, or None."""
        size = self._size()
        if size is None:
            return None
        packed = self._came[0]
        message = bytes(self._came[_PREFIX_BYTES : _PREFIX_BYTES + size])
        del self._came[: _PREFIX_BYTES + size]
        if self._came:
            self._owes_since = time.monotonic()
        return self._unpacked(message) if packed else message

    def _unpacked(self, message: bytes) -> bytes:
        kind = next((value for name, value in self.headers if name == b"grpc-encoding"), b"")
        if kind not in _WINDOW_BITS:
            raise Unimplemented("Messages are compressed by gzip, by deflate, or not at all.")
        unpacking = zlib.decompressobj(_WINDOW_BITS[kind])
        try:
            content = unpacking.decompress(message, MAX_BODY_BYTES)
        except zlib.error as error:
            raise Invalid(f"The message is no {kind.decode()}: {error}.") from error
        if unpacking.unconsumed_tail:
            raise _too_large()
        return content

    def _take(self, message: bytes) -> None:
        self._begun = True
        turn = Turn(self)
        self._turns.append(turn)
        try:
            self._handle(message, turn)
        except TreadleError as error:
            turn.fail(error)
        except Exception:
            log.exception("a call by gRPC failed")
            turn.fail(ServerFailed("The server failed on this request. Its log says more."))

    def _flush(self) -> None:
        """Send the answers that are ready, in the order of their messages."""
        sent = False
        while self._turns and (data := self._turns[0].data) is not None:
            self._turns.popleft()
            sent = True
            if not self._stream.closed:
                self._send(data)
        if self._lingers and not self._turns:
            self._lingers = False
            self._stream.settled()
        elif sent and self.streams and not self._taking and not self._stream.closed:
            self._go_on()

    def _send(self, data: bytes) -> None:
        prefix = b"\0" + len(data).to_bytes(4, "big")
        done = None if self.streams else DONE
        self._stream.send(prefix + data, head=self._head(), trailers=done)

    def _end(self, trailers: bytes) -> None:
        # Without a message before them, the trailers are the only headers that are sent.
        self._stream.send(b"", trailers=self._head() + trailers)

    def _head(self) -> bytes:
        """The headers of the answer, once."""
        head = b"" if self._answers else HEAD
        self._answers = True
        return head


def _too_large() -> TooLarge:
    largest = MAX_BODY_BYTES >> 20
    return TooLarge(f"The body is larger than {largest} MiB. Send several requests.")
