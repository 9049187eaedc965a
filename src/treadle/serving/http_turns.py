"""Shares the event loop among connections, so that none pays for what another one asks."""

import asyncio
from collections import deque
from time import perf_counter
from typing import Any, Protocol

TURN_SECONDS = 0.001
"""How long, in a turn of the loop, requests are begun that came behind others."""
DROP_EVERY_SECONDS = 0.001
"""How far apart two reads are of what refused requests still send, over all connections."""


class Queued(Protocol):
    """A connection that has sent more than one request at once."""

    def proceed(self) -> bool:
        """Take one step of what has come; returns whether more is due."""


class Turns:
    """Serves connections that have sent much, each one in turn, for a moment at a time.

    A connection's first request is begun at once. Thousands of further ones, or bodies that are too
    large and only read to be dropped, take what is left of each turn of the event loop.
    """

    def __init__(self) -> None:
        self._queue: deque[Queued] = deque()
        self._queued: set[Queued] = set()
        self._dropping: deque[Any] = deque()

    def queue(self, connection: Queued) -> None:
        """Let a connection have turns until nothing is due of it.

        Args:
            connection: The connection.
        """
        if connection in self._queued:
            return
        if not self._queue:
            asyncio.get_running_loop().call_soon(self._take)
        self._queue.append(connection)
        self._queued.add(connection)

    def _take(self) -> None:
        until = perf_counter() + TURN_SECONDS
        while self._queue and perf_counter() < until:
            connection = self._queue[0]
            if connection.proceed():
                self._queue.rotate(-1)
            else:
                self._queue.popleft()
                self._queued.discard(connection)
        if self._queue:
            asyncio.get_running_loop().call_soon(self._take)

    def drop_more(self, transport: Any) -> None:
        """Read once more from a connection whose request is refused, when it is its turn.

        Args:
            transport: The connection's transport, which is paused.
        """
        if not self._dropping:
            asyncio.get_running_loop().call_later(DROP_EVERY_SECONDS, self._drop)
        self._dropping.append(transport)

    def _drop(self) -> None:
        transport = self._dropping.popleft()
        if self._dropping:
            asyncio.get_running_loop().call_later(DROP_EVERY_SECONDS, self._drop)
        if not transport.is_closing():
            transport.resume_reading()
