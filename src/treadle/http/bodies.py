"""What requests may cost before they are whole: memory over all callers, and time for each."""

import asyncio
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.kernel.errors import Busy, TooLarge, TooSlow

MAX_HELD_BYTES = 1 << 30
"""Bytes of bodies that are held in memory at a time, over all requests."""
PATIENCE_SECONDS, SLOWEST_BYTES = 30.0, 64 << 10
"""How long a body may take: so many seconds, and one more for each so many bytes that came."""
LARGE_BYTES, UNPACED, PACE_SECONDS = 1 << 20, 2, 0.001
"""Bodies are large from so many bytes on; more than so many large ones at a time are read part by
part, over all callers, so far apart."""
DROP_SECONDS, DROP_PACE_SECONDS = 2.0, 0.005
"""How long the rest of a body is read that nobody wants: who is still sending reads no answer; and
how far apart its parts are read, over all callers."""
_HELD = "treadle.held"


class Bodies:
    """An ASGI application that bounds the bodies of requests to another one.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.held = 0
        self.large = 0  # bodies that have grown large
        self.turn = asyncio.Lock()  # of reading the next part of one of these
        self.drop_turn = asyncio.Lock()  # of reading the next part of one that nobody wants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with a receiver that waits no longer than a body may take.

        Args:
            scope: What ASGI tells of the connection.
            receive: Gives the parts of the request's body.
            send: Takes the parts of the answer.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, receive)
        scope[_HELD] = body

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and not body.whole and _is_sent(scope):
                await body.drop()
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        try:
            await self._app(scope, body.receive, answer)
        finally:
            self.held -= body.bytes
            self.large -= body.is_large


class _Body:
    """One request's body, on its way."""

    def __init__(self, bodies: Bodies, receive: Receive) -> None:
        self._bodies, self._receive = bodies, receive
        self._began, self._came, self.whole = asyncio.get_running_loop().time(), 0, False
        self.bytes = 0

    async def receive(self) -> MutableMapping[str, Any]:
        if self.whole:  # whoever waits now waits for the end of the connection
            return await self._receive()
        if self._bodies.large > UNPACED and self.is_large:
            await self._wait_for_turn()
        until = self._began + PATIENCE_SECONDS + self._came / SLOWEST_BYTES
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError as error:
            raise TooSlow(
                f"The body did not come: {self._came:,} bytes in "
                f"{asyncio.get_running_loop().time() - self._began:.0f} s. Send it faster."
            ) from error
        was_large = self.is_large
        self._came += len(message.get("body", b""))
        self._bodies.large += self.is_large - was_large
        self.whole = not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read for a moment what still comes, and forget it: the request is answered already."""
        with suppress(TimeoutError, TooSlow):
            async with asyncio.timeout(DROP_SECONDS):
                while not self.whole:
                    async with self._bodies.drop_turn:
                        await asyncio.sleep(DROP_PACE_SECONDS)
                    await self.receive()

    async def _wait_for_turn(self) -> None:
        async with self._bodies.turn:
            await asyncio.sleep(PACE_SECONDS)

    @property
    def is_large(self) -> bool:
        """Whether so much has come that the body is read in turns with others."""
        return self._came > LARGE_BYTES

    def hold(self, size: int) -> None:
        """Count bytes that stay in memory until the request is answered."""
        if self._bodies.held + size > MAX_HELD_BYTES:
            raise Busy("The server has its hands full of large requests. Send it again in a while.")
        self._bodies.held += size
        self.bytes += size


def hold(scope: Scope, size: int) -> None:
    """Count bytes of a request's body that stay in memory until it is answered.

    Args:
        scope: The request's scope.
        size: The number of bytes.

    Raises:
        Busy: All requests together would hold more than ``MAX_HELD_BYTES``.
    """
    if (body := scope.get(_HELD)) is not None:
        body.hold(size)


def _declared(scope: Scope) -> float:
    """The bytes that a request says it has; without an end where it does not say."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return float("inf")
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


def _is_sent(scope: Scope) -> bool:
    """Whether a body of some size comes unasked: a client that waits is not asked any more."""
    waits = any(name == b"expect" for name, _ in scope["headers"])
    return not waits and _declared(scope) > LARGE_BYTES


async def body_of(request: Request, limit: int) -> bytes:
    """Return the request's body.

    Args:
        request: The request.
        limit: The most bytes that are read.

    Raises:
        TooLarge: The body is larger.
        TooSlow: The body does not come.
        Busy: The bodies of all requests are too much for the memory that they may take.
    """
    parts, size = [], 0
    if limit < _declared(request.scope) < float("inf"):
        raise TooLarge(f"The body is larger than {limit >> 20} MiB.")
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body is larger than {limit >> 20} MiB.")
        hold(request.scope, len(part))
        parts.append(part)
    return b"".join(parts)
