"""Incidents as the process has them that holds the database."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import cache

from sqlalchemy import Connection

from treadle.events.local import LocalEvents
from treadle.incidents.grouping import Grouping
from treadle.incidents.service import Incidents
from treadle.kernel.clock import EPOCH, Clock
from treadle.kernel.errors import NotFound
from treadle.kernel.stage import RECONCILE, Assembly
from treadle.monitoring.model import Window
from treadle.monitoring.service import Monitoring
from treadle.ports.database import Database
from treadle.scope.model import ProjectSpec
from treadle.scope.service import Scope

READER = "incidents"
PAGE = 500
"""Events that are taken in one transaction."""
MOST_WINDOWS = 500
"""Windows of an endpoint in which the end of an alert is looked for."""
SETTLE_EVERY = timedelta(minutes=1)
log = logging.getLogger(__name__)


class LocalIncidents(Incidents):
    """Incidents; with what opens, grows and ends them.

    Args:
        database: Where incidents are kept.
        events: The event log that alerts come from.
        clock: Source of time.
        assembly: Knows who decides about events.
        scope: Knows what each project declares.
        monitoring: Knows the windows that end alerts.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        assembly: Assembly,
        scope: Scope,
        monitoring: Monitoring,
    ) -> None:
        super().__init__(database, events, clock, assembly)
        self._scope, self._monitoring = scope, monitoring
        self._settled_at = EPOCH

    @RECONCILE()
    def react(self) -> int:
        """Let each event since the last call open, grow or end incidents, each once.

        What events do and how far they were read is written in one transaction.

        Returns:
            How many events were read, and how many alerts have ended by themselves.
        """
        now = self._clock.now()
        waiting = bool(self._events.unread(READER, limit=1))
        if not waiting and now - self._settled_at < SETTLE_EVERY:
            return 0
        with self._database.write() as transaction:
            unread = self._events.unread(READER, limit=PAGE)
            grouping = self._grouping(transaction)
            for record in unread:
                grouping.take(record)
            if unread:
                self._events.confirm(transaction, READER, unread[-1].number)
            ended = grouping.settle(now) if len(unread) < PAGE else 0
        self._settled_at = now
        return len(unread) + ended

    def _grouping(self, transaction: Connection) -> Grouping:
        """Groups alerts by what is declared and measured now."""

        @cache
        def spec_of(project: str | None) -> ProjectSpec | None:
            try:
                return self._scope.project(name=project).spec if project else None
            except NotFound:
                return None

        @cache
        def windows_of(endpoint: str) -> Sequence[Window]:
            return self._monitoring.windows(endpoint=endpoint, limit=MOST_WINDOWS)

        return Grouping(transaction, self._events, spec_of, windows_of)
