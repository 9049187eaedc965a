"""Tells open pages that something has happened, so that they draw themselves again.

One thread of the server looks at the log's last number once a second while any page is open. Each
page gets that number, and how many look: the more do, the longer each waits before it draws itself
again, so that all of them together ask for at most some pages a second.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from treadle.http.auth import caller_of
from treadle.http.rights import demand_somewhere
from treadle.platform.wiring import Embedded

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_OF_SILENCE = 15.0
"""After so long a comment is sent: a connection that has gone is noticed."""


class Pulse:
    """The number of the last event, as of a moment ago.

    Args:
        platform: The home whose events are looked at.
    """

    def __init__(self, platform: Embedded) -> None:
        self._platform = platform
        self._number: int | None = None
        self._viewers = 0
        self._changed: asyncio.Event | None = None
        self._looking: asyncio.Task[None] | None = None

    async def news(self) -> AsyncIterator[tuple[int, int] | None]:
        """Give the number and how many look, now and at each change; None after a silence."""
        self._viewers += 1
        try:
            if self._looking is None or self._looking.done():
                self._changed = asyncio.Event()
                self._looking = asyncio.create_task(self._look())
            told = -1
            while True:
                assert self._changed is not None
                changed = self._changed
                if self._number is not None and self._number != told:
                    told = self._number
                    yield told, self._viewers
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), SECONDS_OF_SILENCE)
                except TimeoutError:
                    yield None
        finally:
            self._viewers -= 1

    async def _look(self) -> None:
        while self._viewers:
            number = self._number
            try:
                number = await run_in_threadpool(self._platform.events.last_number)
            except Exception:  # the next look may find the database again
                log.exception("Open pages are not told of events: the log cannot be read.")
            if number != self._number:
                self._number = number
                assert self._changed is not None
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        self._number = None


def live_route(platform: Embedded) -> Route:
    """``GET /live``: the last event's number and the number of viewers, as server-sent events.

    It has no end.

    ``?once`` ends after the first.

    Args:
        platform: The services that answer.
    """
    pulse = Pulse(platform)

    async def endpoint(request: Request) -> Response:
        caller = await run_in_threadpool(caller_of, platform, request)
        demand_somewhere(caller, "viewer")
        told = _told(pulse, once="once" in request.query_params)
        return StreamingResponse(told, media_type="text/event-stream")

    return Route("/live", endpoint)


async def _told(pulse: Pulse, *, once: bool) -> AsyncIterator[str]:
    async for news in pulse.news():
        yield ":\n\n" if news is None else f"data: {news[0]} {news[1]}\n\n"
        if once:
            return
