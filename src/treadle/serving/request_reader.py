"""Reads HTTP requests part by part, as the parser finds them, and refuses what is too large."""

from abc import ABC, abstractmethod

import httptools

MAX_BODY_BYTES = 16 << 20
MAX_HEAD_BYTES = 64 << 10
SMALL_BYTES, MAX_HELD_BYTES = 64 << 10, 256 << 20
"""What is beyond the first so many bytes of a body is held within one limit for all connections.
Small bodies are so taken whatever others send.
"""
STALL_SECONDS = 30.0
"""How long a client may be silent in the middle of a request."""
SLOWEST_BYTES = 64 << 10
"""A request may take that long altogether, and a second more for each so many bytes that came."""
NO_ROOM = b'{"error":"The server holds too many large requests. Send it again in a second."}'
HeaderList = list[tuple[bytes, bytes]]
"""Names in lower case, with values, in order."""


class Held:
    """Bytes of bodies that all connections of a server hold, unfinished or not answered yet."""

    def __init__(self) -> None:
        self.bytes = 0

    def change(self, before: int, now: int) -> bool:
        """Count a body that has grown or is gone; returns whether there is room for it.

        Args:
            before: Its bytes until now.
            now: Its bytes now.
        """
        if before <= SMALL_BYTES >= now:  # as nearly always: nothing is counted
            return True
        more = max(0, now - SMALL_BYTES) - max(0, before - SMALL_BYTES)
        self.bytes += more
        return more <= 0 or self.bytes <= MAX_HELD_BYTES


class RequestReader(ABC):
    """The request that is being read; a connection takes it over when it is whole.

    Args:
        held: Counts the bytes of bodies.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()  # a list of parts would take many times a body of small chunks
        self._head_bytes = self._body_left = 0
        self._reading = False  # in the middle of a request
        self._refused = False

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url, self._headers, self._body, self._reading = b"", [], bytearray(), True
        self._body_left = 0
        self._head_bytes = max(self._head_bytes, 0)

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL.

        Args:
            url: The part.
        """
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header.

        Args:
            name: The header's name.
            value: The header's value.
        """
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse headers or a body that are too large, before the body is sent."""
        if sum(len(name) + len(value) for name, value in self._headers) > MAX_HEAD_BYTES:
            return self._head_too_large()
        self._head_bytes = -1  # not counted until the next request begins
        for name, value in self._headers:
            if name == b"content-length":
                self._body_left = int(value)
                if self._body_left > MAX_BODY_BYTES:
                    return self._too_large()
            if name == b"expect" and value.lower() == b"100-continue":
                self._invite()
        return None

    def on_body(self, body: bytes) -> None:
        """Take a part of the body.

        Args:
            body: The part.
        """
        if self._refused:
            return None
        before = len(self._body)
        self._body += body
        self._body_left -= len(body)
        room = self._held.change(before, len(self._body))
        if len(self._body) > MAX_BODY_BYTES:
            return self._too_large()
        return None if room else self._refuse(503, NO_ROOM)

    @abstractmethod
    def on_message_complete(self) -> None:
        """Take the whole request."""

    @abstractmethod
    def _invite(self) -> None:
        """Tell a client that waits with the body of its request to send it."""

    @abstractmethod
    def _refuse(self, status: int, content: bytes) -> None:
        """Answer a request that will not be read to its end."""

    def _head_too_large(self) -> None:
        self._refuse(431, b'{"error":"The request\'s headers are larger than 64 KiB."}')

    def _too_large(self) -> None:
        largest = MAX_BODY_BYTES >> 20
        message = b'{"error":"The body is larger than %d MiB. Send several requests."}' % largest
        self._refuse(413, message)
