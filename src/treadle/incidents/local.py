"""Incidents as the process has them that holds the database."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache, cached_property

from sqlalchemy import ColumnElement, Connection, select

from treadle.incidents.grouping import Grouping, may_succeed_later
from treadle.incidents.model import Incident
from treadle.incidents.outbox import Outbox, awaits_end
from treadle.incidents.quiet import TOLD
from treadle.incidents.records import read_incidents, read_silences
from treadle.incidents.routing import Planned, key_of, plan
from treadle.incidents.service import Incidents
from treadle.incidents.silencing import with_silences
from treadle.incidents.tables import alerts, incidents, silences
from treadle.kernel.clock import EPOCH
from treadle.kernel.errors import NotFound
from treadle.kernel.stage import RECONCILE
from treadle.monitoring.model import Window
from treadle.scope.alerting import NotifyRoute
from treadle.scope.model import ProjectSpec

READER = "incidents"
PAGE = 500
"""Events, or incidents, that are taken in one transaction."""
WINDOWS = 32
"""Windows of an endpoint that are read at once, where the end of an alert is looked for."""
LONGEST_AFTERWARDS = timedelta(days=14)
"""Time after its end within which people are told that an incident is resolved."""
SETTLE_EVERY = timedelta(minutes=1)
log = logging.getLogger(__name__)


class LocalIncidents(Incidents):
    """Incidents; with what opens, grows and ends them, and tells people."""

    _settled_at = EPOCH
    """When the ends of alerts were last looked for; events look for those of their project."""

    @cached_property
    def _untold(self) -> dict[str, str]:
        """Projects whose messages could not be planned, with the error; it is logged once."""
        return {}

    @cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self._database, self._events, self._clock, self._open_notifier)

    @RECONCILE()
    def react(self) -> int:
        """Let each event since the last call open, grow or end incidents, each once.

        What events do and how far they were read is written in one transaction.

        Returns:
            How many events were read, and how many alerts have ended by themselves.
        """
        now = self._clock.now()
        is_time = now - self._settled_at >= SETTLE_EVERY
        if not self._events.unread(READER, limit=1):
            if not is_time:
                return 0
            if not self._may_end():
                self._settled_at = now
                return 0
        with self._database.write() as transaction:
            unread = self._events.unread(READER, limit=PAGE)
            grouping = self._grouping(transaction)
            for record in unread:
                grouping.take(record)
            if unread:
                self._events.confirm(transaction, READER, unread[-1].number)
            if len(unread) == PAGE or not is_time:  # what comes again may be on the next page
                return len(unread)
            ended = grouping.settle(now)
        self._settled_at = now
        return len(unread) + ended

    def _may_end(self) -> bool:
        """Whether an alert holds that may end by itself."""
        holds = alerts.c.cleared_at.is_(None) & alerts.c.kind.not_in(TOLD)
        with self._database.read() as connection:
            return connection.scalar(select(alerts.c.key).where(holds).limit(1)) is not None

    @RECONCILE()
    def tell(self) -> int:
        """Tell people of what has changed, by the routes that their projects declare.

        Returns:
            How many messages were made or are tried.
        """
        return self._plan() + self._outbox.send_due(self._routes)

    def _routes(self) -> dict[str, NotifyRoute]:
        """All declared routes by their keys."""
        declared = (route for each in self._scope.projects() for route in each.spec.notify)
        return {key_of(route): route for route in declared}

    def _plan(self) -> int:
        """Make the messages that are due; gives how many."""
        now = self._clock.now()
        concerned = select(incidents.c.project).where(_may_be_told(now)).distinct()
        with self._database.read() as connection:
            names = connection.scalars(concerned.where(incidents.c.project.is_not(None))).all()
        specs = [project.spec for project in self._scope.among(names) if project.spec.notify]
        return sum(self._plan_shielded(spec, now) for spec in specs)

    def _plan_shielded(self, spec: ProjectSpec, now: datetime) -> int:
        """Make the messages of a project; its trouble is logged and holds up no other project."""
        project = spec.project.name
        try:
            made = self._plan_project(spec, now)
        except Exception as error:
            if may_succeed_later(error):
                raise
            if self._untold.get(project) != (said := repr(error)):
                self._untold[project] = said
                log.exception("messages about project '%s' could not be planned", project)
            return 0
        self._untold.pop(project, None)
        return made

    def _plan_project(self, spec: ProjectSpec, now: datetime) -> int:
        own = (incidents.c.project == spec.project.name) & _may_be_told(now)
        made, last, whole = 0, 0, True
        while whole:
            which = own & (incidents.c.id > last)
            with self._database.read() as connection:
                page = self._planned(connection, which, spec, now)
            made += self._put([one.id for one, planned in page if planned], spec, now)
            whole = len(page) == PAGE
            last = page[-1][0].id if page else last
        return made

    def _put(self, numbers: list[int], spec: ProjectSpec, now: datetime) -> int:
        """Make the messages about incidents, as they are in the transaction that does it."""
        if not numbers:
            return 0
        which = incidents.c.id.in_(numbers)
        made = 0
        with self._database.write() as transaction:
            for incident in read_incidents(transaction, which, with_alerts=False):
                self._outbox.cancel(transaction, incident)
            for incident, planned in self._planned(transaction, which, spec, now):
                made += self._outbox.put(transaction, incident, planned)
        return made

    def _planned(
        self,
        connection: Connection,
        which: ColumnElement[bool],
        spec: ProjectSpec,
        now: datetime,
    ) -> list[tuple[Incident, list[Planned]]]:
        """Incidents by their numbers, a page at most, each with what is to be told of it."""
        holds = (silences.c.project == spec.project.name) & (silences.c.until > now)
        silent = read_silences(connection, holds)
        found = read_incidents(
            connection, which, incidents.c.id, limit=PAGE, with_alerts=bool(silent)
        )
        told = self._outbox.told(connection, found)
        return [
            (one, plan(one, spec, told[one.id], now)) for one in with_silences(found, silent, now)
        ]

    def _grouping(self, transaction: Connection) -> Grouping:
        """Groups alerts by what is declared and measured now."""

        @cache
        def spec_of(project: str | None) -> ProjectSpec | None:
            try:
                return self._scope.project(name=project).spec if project else None
            except NotFound:
                return None

        @cache
        def page(endpoint: str, after: datetime) -> list[Window]:
            return self._monitoring.windows_after(endpoint, after, WINDOWS)

        def windows_of(endpoint: str, after: datetime) -> Iterator[Window]:
            while found := page(endpoint, after):
                yield from found
                after = found[-1].start

        return Grouping(transaction, self._events, spec_of, windows_of, self._delivery.is_of)


def _may_be_told(now: datetime) -> ColumnElement[bool]:
    """Condition on ``incidents``: something may have to be told of it by a moment."""
    recent = incidents.c.resolved_at >= now - LONGEST_AFTERWARDS
    return (incidents.c.state != "resolved") | (recent & awaits_end())
