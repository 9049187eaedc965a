"""Group commit: writes that arrive during one transaction share the next one.

A write is answered after the transaction that holds it is durable.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from treadle.kernel.errors import Busy
from treadle.tracking.ingest import Incoming
from treadle.tracking.local import LocalTracking

MOST_WAITING = 20_000


class GroupCommit:
    """The writes of one server process, one transaction at a time. Belongs to one event loop.

    Args:
        tracking: Where the writes go.
    """

    def __init__(self, tracking: LocalTracking) -> None:
        self._tracking = tracking
        self._waiting: list[tuple[Incoming, asyncio.Future[None]]] = []
        self._thread = ThreadPoolExecutor(1, "commit")
        self._pump: asyncio.Task[None] | None = None

    async def write(self, incoming: Incoming) -> None:
        """Store a batch, and return when it is durable.

        Args:
            incoming: The batch.

        Raises:
            Busy: Too many batches wait already. Sending it again later helps.
            TreadleError: The batch was refused, with the reason.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Busy("More is sent than can be stored now. Send it again in a moment.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((incoming, future))
        if self._pump is None:
            self._pump = loop.create_task(self._commit())
        await future

    async def _commit(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, []
                batches = [incoming for incoming, _ in taken]
                try:
                    outcomes = await loop.run_in_executor(
                        self._thread, self._tracking.outcomes, batches
                    )
                except Exception as error:  # the database is away: no batch was stored
                    outcomes = [error] * len(taken)
                for (_, future), outcome in zip(taken, outcomes, strict=True):
                    if future.done():
                        continue
                    if outcome is None:
                        future.set_result(None)
                    else:
                        future.set_exception(outcome)
        finally:
            self._pump = None
