"""Reads HTTP/2's frames as they come (RFC 9113), and refuses what breaks the protocol."""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum

from treadle.serving.header_blocks import MAX_BLOCK_BYTES, HeaderReader
from treadle.serving.request_reader import HeaderList

FRAMES_A_TURN = 64  # how many frames are taken at once from one connection
FRAME_BYTES = 16 << 10
MAX_WINDOW = (1 << 31) - 1
DATA, HEADERS, RESET, SETTINGS, PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, ACK, END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_HEAD = struct.Struct(">HBBBL")
_INITIAL_WINDOW = 4


class Code(IntEnum):
    """Why a connection or a stream ends; a member for each code that is sent."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Violation(Exception):
    """The client breaks the protocol, so its connection ends.

    Args:
        code: How.
    """

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """Write a frame.

    Args:
        kind: Its type.
        flags: Its flags.
        stream: The stream's number; 0 for the connection.
        content: What it holds, at most `FRAME_BYTES`.
    """
    size = len(content)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + content


def reset(number: int, code: Code) -> bytes:
    """Write the frame that ends a stream out of turn.

    Args:
        number: The stream's number.
        code: Why it ends.
    """
    return frame(RESET, 0, number, code.to_bytes(4, "big"))


def go_away(last: int, code: Code) -> bytes:
    """Write the frame that tells a client to open no more streams.

    Args:
        last: The highest stream that is answered.
        code: Why.
    """
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))


class FrameReader(ABC):
    """The frames of one connection; what they say is handed over as it is whole."""

    def __init__(self) -> None:
        self._reader = HeaderReader()
        self._block: tuple[int, int, bytearray] | None = None  # headers whose end has not come
        self._greeted = False
        self._takes: dict[int, Callable[[int, int, bytes], None]] = {
            DATA: self._take_data,
            HEADERS: self._take_headers,
            RESET: self._take_reset,
            SETTINGS: self._take_settings,
            PROMISE: self._take_promise,
            PING: self._take_ping,
            WINDOW: self._take_window,
            CONTINUATION: self._take_continuation,
        }

    def take_frames(self, data: bytes) -> tuple[bytes, bool]:
        """Take whole frames, at most `FRAMES_A_TURN`.

        Args:
            data: What has come.

        Returns:
            What is left of it, and whether there may be more whole frames in that.

        Raises:
            Violation: The client breaks the protocol.
            BadBlock: Headers cannot be read.
        """
        position, size = 0, len(data)
        for _ in range(FRAMES_A_TURN):
            if size - position < _HEAD.size:
                break
            high, low, kind, flags, number = _HEAD.unpack_from(data, position)
            start, length = position + _HEAD.size, high << 8 | low
            if length > FRAME_BYTES:
                raise Violation(Code.FRAME_SIZE_ERROR)
            if start + length > size:
                break
            position = start + length
            self._take(kind, flags, number & MAX_WINDOW, data[start:position])
        else:
            return data[position:], True
        return data[position:], False

    def _take(self, kind: int, flags: int, number: int, content: bytes) -> None:
        if not self._greeted and kind != SETTINGS:
            raise Violation(Code.PROTOCOL_ERROR)
        if self._block is not None and kind != CONTINUATION:
            raise Violation(Code.PROTOCOL_ERROR)
        take = self._takes.get(kind)  # other kinds say nothing that matters here
        if take is not None:
            take(flags, number, content)

    def _take_data(self, flags: int, number: int, content: bytes) -> None:
        if number % 2 == 0:
            raise Violation(Code.PROTOCOL_ERROR)
        data = _unpadded(content) if flags & _PADDED else content
        self.on_data(number, data, len(content), bool(flags & END_STREAM))

    def _take_headers(self, flags: int, number: int, content: bytes) -> None:
        if number % 2 == 0:
            raise Violation(Code.PROTOCOL_ERROR)
        if flags & _PADDED:
            content = _unpadded(content)
        if flags & _PRIORITY:
            content = content[5:]
        if flags & END_HEADERS:
            self.on_headers(number, self._reader.read(content), bool(flags & END_STREAM))
        else:
            self._block = number, flags, bytearray(content)

    def _take_continuation(self, flags: int, number: int, content: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise Violation(Code.PROTOCOL_ERROR)
        _, first, block = self._block
        # Empty pieces are refused, so that they cannot go on for ever.
        if not content or len(block) + len(content) > MAX_BLOCK_BYTES:
            raise Violation(Code.ENHANCE_YOUR_CALM)
        block += content
        if flags & END_HEADERS:
            self._block = None
            self.on_headers(number, self._reader.read(bytes(block)), bool(first & END_STREAM))

    def _take_reset(self, _: int, number: int, content: bytes) -> None:
        if len(content) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR)
        self.on_reset(number)

    def _take_settings(self, flags: int, number: int, content: bytes) -> None:
        if number or len(content) % 6:
            raise Violation(Code.PROTOCOL_ERROR if number else Code.FRAME_SIZE_ERROR)
        self._greeted = True
        if flags & ACK:
            return
        for setting, value in struct.iter_unpack(">HL", content):
            if setting == _INITIAL_WINDOW:
                self.on_window_size(value)
        self.write(frame(SETTINGS, ACK, 0, b""))

    def _take_promise(self, _: int, __: int, ___: bytes) -> None:
        raise Violation(Code.PROTOCOL_ERROR)  # clients promise nothing

    def _take_ping(self, flags: int, number: int, content: bytes) -> None:
        if number or len(content) != 8:
            raise Violation(Code.PROTOCOL_ERROR if number else Code.FRAME_SIZE_ERROR)
        if not flags & ACK:
            self.write(frame(PING, ACK, 0, content))

    def _take_window(self, _: int, number: int, content: bytes) -> None:
        if len(content) != 4:
            raise Violation(Code.FRAME_SIZE_ERROR)
        more = int.from_bytes(content, "big") & MAX_WINDOW
        if not more:
            raise Violation(Code.PROTOCOL_ERROR)
        self.on_window(number, more)

    @abstractmethod
    def on_headers(self, number: int, headers: HeaderList, ends: bool) -> None:
        """Take a stream's headers, or its trailers."""

    @abstractmethod
    def on_data(self, number: int, data: bytes, size: int, ends: bool) -> None:
        """Take a piece of a stream; `size` counts the padding."""

    @abstractmethod
    def on_reset(self, number: int) -> None:
        """Cancel a stream."""

    @abstractmethod
    def on_window_size(self, size: int) -> None:
        """Take note of how much the client takes on each stream."""

    @abstractmethod
    def on_window(self, number: int, more: int) -> None:
        """Take note of how much more the client takes; on stream 0, on all together."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send frames."""


def _unpadded(content: bytes) -> bytes:
    if not content or content[0] >= len(content):
        raise Violation(Code.PROTOCOL_ERROR)
    return content[1 : len(content) - content[0]]
