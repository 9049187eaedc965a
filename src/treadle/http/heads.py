"""Bounds how long the head of a request may take; the body's time is bounded in ``bodies``."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 30.0
"""How long a client may take for a request's first line and headers, however steadily it sends."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's connection, which ends where a head does not come in time.

    uvicorn waits without end for the rest of one, and for the first one of a connection.
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
        """Take a head that is whole."""
        self._came()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._due = self.loop.call_later(HEAD_SECONDS, self._late)

    def _came(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
