"""Stores when tokens were last used: seldom, and beside the requests that use them."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

from treadle.access.tables import tokens
from treadle.kernel.errors import TreadleError
from treadle.ports.database import Database

BETWEEN = timedelta(minutes=1)
"""How far apart two stored uses of a token are at least."""

log = logging.getLogger(__name__)


class LastUse:
    """Stores the last use of each token, once a minute at most.

    A thread of its own writes, so that no request waits for its turn to write. A use is no event:
    it changes nothing, and a minute's worth of them would bury what does.

    Args:
        database: Where tokens are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, datetime] = {}
        self._writer: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def note(self, token: str, at: datetime, *, stored: datetime | None) -> None:
        """Take note that a token was used now.

        Args:
            token: Name of the token.
            at: The present time.
            stored: The last use that is stored; None where there is none.
        """
        known = [moment for moment in (stored, self._noted.get(token)) if moment is not None]
        if known and at - max(known) < BETWEEN:
            return
        self._noted[token] = at
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="last-use")
        self._pending = self._writer.submit(self._store, token, at)

    def settle(self) -> None:
        """Wait until all that was noted is stored."""
        if self._pending is not None:
            self._pending.result()

    def close(self) -> None:
        """Store what was noted, and end the thread."""
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None

    def _store(self, token: str, at: datetime) -> None:
        statement = tokens.update().where(tokens.c.name == token).values(last_used_at=at)
        try:
            with self._database.write() as transaction:
                transaction.execute(statement)
        except TreadleError as error:  # the next use is stored instead
            log.warning("the use of token '%s' was not stored: %s", token, error.message)
