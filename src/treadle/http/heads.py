"""Bounds the heads of requests: how long one may take, and how many may wait on a connection.

The body's time is bounded in ``bodies``.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from treadle.kernel.errors import Invalid

HEAD_SECONDS = 30.0
"""How long a client may take for a request's first line and headers, however steadily it sends."""

MOST_WAITING = 64
"""Requests that a client may have sent before the first of them is answered."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's connection, ended where a head does not come in time, or too many come at once.

    uvicorn waits without end for the rest of one, and for the first one of a connection, and keeps
    as many requests as come.
    """

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request.

        Args:
            transport: The connection's transport.
        """
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer.

        Args:
            exc: Why the connection ended.
        """
        self._came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        if self._due is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """Take a head that is whole.

        Raises:
            Invalid: Too many requests wait already.
        """
        self._came()
        if len(self.pipeline) >= MOST_WAITING:  # the parser's error ends the connection
            raise Invalid(f"More than {MOST_WAITING} requests wait on one connection.")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read.

        Args:
            msg: The parser's words, which name no bound.
        """
        bound = "an address has at most 65,535 characters, with what it asks for."
        super().send_400_response(f"{msg} It cannot be read as HTTP, or is too long: {bound}")

    def _wait(self) -> None:
        self._due = self.loop.call_later(HEAD_SECONDS, self._late)

    def _came(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()  # an answer is due, before which the rest may not even be read
        elif not self.transport.is_closing():
            self.transport.close()
