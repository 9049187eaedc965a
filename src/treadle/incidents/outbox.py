"""Keeps messages to people until they are sent, at least once, or given up."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, exists, func, select

from treadle.events.local import LocalEvents
from treadle.incidents.model import Change, Incident, IncidentMessageDied, IncidentMessageSent
from treadle.incidents.notices import notice_of
from treadle.incidents.records import read_incident
from treadle.incidents.routing import FIRST, Planned, Told, is_escalation, is_refreshed
from treadle.incidents.tables import incidents, messages
from treadle.kernel.clock import Clock
from treadle.kernel.errors import TreadleError
from treadle.kernel.event import acting
from treadle.ports.database import Database
from treadle.ports.notifier import Notice, OpenNotifier
from treadle.scope.alerting import NotifyRoute

TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=1)
LEASE = timedelta(minutes=2)
"""Time after which a message is sent again whose sender has said nothing of it."""
AT_ONCE = 100
"""Messages of a route that are sent one after another, before others are looked for."""
log = logging.getLogger(__name__)


class Due(NamedTuple):
    """A message to be sent now.

    Attributes:
        id: Id of the message.
        incident: Number of the incident.
        times_opened: How often the incident had been opened then.
        change: What it tells.
        route_key: Key of the route.
        shown: The route's address, without secrets.
        attempts: How often it was tried.
    """

    id: str
    incident: int
    times_opened: int
    change: Change
    route_key: str
    shown: str
    attempts: int


class Outbox:
    """Messages to people, in the database until they are sent.

    A message is written in a transaction and sent after it; that it was sent is written in another
    one. So what stops between the two sends it again, with the same id.

    Args:
        database: Where messages are kept.
        events: The log that tells what was sent.
        clock: Source of time.
        open_notifier: Gives the notifier of an address.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        open_notifier: OpenNotifier,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._open_notifier = open_notifier
        self._sending: dict[str, threading.Thread] = {}

    def put(self, transaction: Connection, incident: Incident, planned: Iterable[Planned]) -> int:
        """Add messages that are not there yet.

        Args:
            transaction: An open write transaction.
            incident: The incident.
            planned: What is to be told of it.

        Returns:
            How many were added.
        """
        added = 0
        for one in planned:
            known = select(messages.c.id).where(messages.c.id == one.id)
            if transaction.scalar(known) is not None:
                continue
            row = {
                "id": one.id,
                "incident": incident.id,
                "times_opened": incident.times_opened,
                "change": one.change,
                "severity": one.severity,
                "route_key": one.route,
                "route": one.shown,
                "state": "waiting",
                "due_at": one.due_at,
                "attempts": 0,
                "next_at": one.due_at,
                "error": "",
            }
            transaction.execute(messages.insert().values(row))
            added += 1
        return added

    def told(self, connection: Connection, found: Sequence[Incident]) -> dict[int, list[Told]]:
        """What was told of incidents, or waits to be, since each was opened the last time.

        What was cancelled after it was tried counts: it may have arrived. Of reminders by a route,
        the newest is given.

        Args:
            connection: An open connection.
            found: The incidents.
        """
        told: dict[int, list[Told]] = {incident.id: [] for incident in found}
        what = (messages.c.route_key, messages.c.change, messages.c.severity)
        newest = func.max(messages.c.due_at).label("due_at")
        wanted = (
            select(messages.c.incident, *what, newest)
            .join(incidents, _of_this_opening())
            .where(messages.c.incident.in_(list(told)), _may_have_arrived())
            .group_by(messages.c.incident, *what)
            .order_by(newest)
        )
        for row in connection.execute(wanted).all():
            one = Told(row.route_key, row.change, row.severity, row.due_at)
            told[row.incident].append(one)
        return told

    def cancel(self, transaction: Connection, incident: Incident) -> None:
        """Cancel what waits to be told and is not true any more.

        Args:
            transaction: An open write transaction.
            incident: The incident.
        """
        own = (messages.c.incident == incident.id) & (messages.c.state == "waiting")
        own &= messages.c.change.in_(untrue(incident))
        transaction.execute(messages.update().where(own).values(state="cancelled"))

    def send_due(self, declared: Callable[[], Mapping[str, NotifyRoute]]) -> int:
        """Send what is due, by a thread for each route: a slow receiver holds up no other.

        Args:
            declared: Gives the routes by their keys.

        Returns:
            How many messages are tried.
        """
        self._sending = {key: one for key, one in self._sending.items() if one.is_alive()}
        by_route: dict[str, list[Due]] = {}
        for due in self._due():
            by_route.setdefault(due.route_key, []).append(due)
        routes = declared() if by_route else {}
        begun = 0
        for key, own in by_route.items():
            arguments = (own, routes.get(key))
            thread = threading.Thread(
                target=self._send_all, args=arguments, name="notify", daemon=True
            )
            self._sending[key] = thread
            thread.start()
            begun += len(own)
        return begun

    def _due(self) -> list[Due]:
        """What is due by routes that send nothing now: of each, some that were due first."""
        due = (messages.c.state == "waiting") & (messages.c.next_at <= self._clock.now())
        due &= messages.c.route_key.not_in(list(self._sending))
        order = (messages.c.due_at, messages.c.id)
        place = func.row_number().over(partition_by=messages.c.route_key, order_by=order)
        ranked = select(messages, place.label("place")).where(due).subquery()
        wanted = select(ranked).where(ranked.c.place <= AT_ONCE)
        with self._database.read() as connection:
            rows = connection.execute(wanted.order_by(ranked.c.due_at, ranked.c.id)).all()
        return [
            Due(
                id=row.id,
                incident=row.incident,
                times_opened=row.times_opened,
                change=row.change,
                route_key=row.route_key,
                shown=row.route,
                attempts=row.attempts,
            )
            for row in rows
        ]

    def _send_all(self, due: list[Due], route: NotifyRoute | None) -> None:
        for one in due:
            try:
                self._send(one, route)
            except Exception:  # the database is busy, or closed: its time comes again
                log.exception("message %s of incident %d", one.id, one.incident)

    def _send(self, due: Due, route: NotifyRoute | None) -> None:
        """Claim a message, send it, and write what came of it."""
        notice = self._claim(due, route)
        if notice is None:
            return
        error, final = "", False
        if route is None:
            error, final = "The route is no longer declared.", True
        else:
            try:
                self._open_notifier(route.to, route.secret).send(notice)
            except TreadleError as trouble:
                error, final = trouble.message, not trouble.retry
        self._settle(due, error, final=final or due.attempts + 1 >= TRIES)

    def _claim(self, due: Due, route: NotifyRoute | None) -> Notice | None:
        """Take a message for a time, so that nobody else sends it; None where another has.

        It is cancelled, and None, where it is not true any more.
        """
        now = self._clock.now()
        free = (messages.c.id == due.id) & (messages.c.state == "waiting")
        free &= (messages.c.attempts == due.attempts) & (messages.c.next_at <= now)
        values = {"attempts": due.attempts + 1, "next_at": now + LEASE}
        with self._database.write() as transaction:
            incident = read_incident(transaction, due.incident)
            if self._is_untrue(transaction, due, incident, route):
                transaction.execute(messages.update().where(free).values(state="cancelled"))
                return None
            if not transaction.execute(messages.update().where(free).values(values)).rowcount:
                return None
        return notice_of(incident, due.change, id=due.id, at=now)

    def _is_untrue(
        self, transaction: Connection, due: Due, incident: Incident, route: NotifyRoute | None
    ) -> bool:
        """Whether a message would tell what is not so any more, such as after another one."""
        if due.times_opened == incident.times_opened:
            return due.change in untrue(incident, route)
        if due.change != "resolved":
            return True
        later = (messages.c.incident == due.incident) & (messages.c.route_key == due.route_key)
        later &= messages.c.times_opened > due.times_opened
        return transaction.scalar(select(messages.c.id).where(later).limit(1)) is not None

    def _settle(self, due: Due, error: str, *, final: bool) -> None:
        """Write that a message was sent, is tried again, or is given up."""
        now = self._clock.now()
        own = messages.c.id == due.id
        with self._database.write() as transaction, acting("treadle"):
            project = read_incident(transaction, due.incident).project
            about: dict[str, Any] = {
                "incident": due.incident,
                "project": project,
                "route": due.shown,
                "change": due.change,
            }
            if not error:
                values: dict[str, Any] = {"state": "sent", "sent_at": now, "error": ""}
                told = IncidentMessageSent(**about)
                self._events.append(transaction, told)
            elif final:
                values = {"state": "dead", "error": error}
                died = IncidentMessageDied(**about, error=error)
                self._events.append(transaction, died)
            else:
                values = {"next_at": now + pause_after(due.attempts + 1), "error": error}
            transaction.execute(messages.update().where(own).values(values))
        if error:
            log.warning("incident %d was not told to %s: %s", due.incident, due.shown, error)


def awaits_end() -> ColumnElement[bool]:
    """Condition on ``incidents``: a route has told of the incident, and not yet that it ended."""
    end = messages.alias("ends")
    told_end = exists().where(
        end.c.incident == messages.c.incident,
        end.c.times_opened == messages.c.times_opened,
        end.c.route_key == messages.c.route_key,
        end.c.change == "resolved",
    )
    return exists().where(
        _of_this_opening(),
        messages.c.change.in_(FIRST),
        _may_have_arrived(),
        ~told_end,
    )


def _of_this_opening() -> ColumnElement[bool]:
    """Condition on incidents and messages: they are of the last time that it was opened."""
    same = messages.c.times_opened == incidents.c.times_opened
    return (messages.c.incident == incidents.c.id) & same


def _may_have_arrived() -> ColumnElement[bool]:
    """Condition on messages: it was sent or tried, or waits to be sent."""
    return (messages.c.state != "cancelled") | (messages.c.attempts > 0)


def untrue(incident: Incident, route: NotifyRoute | None = None) -> list[Change]:
    """What need not be told of an incident any more since it was opened the last time.

    Args:
        incident: The incident.
        route: The route, where more is known than that it is any.
    """
    if incident.state == "resolved":
        return [*FIRST, "raised", "acknowledged", "reminder"]
    if incident.state == "open":
        return []
    called: list[Change] = [*FIRST] if route and is_escalation(route) else []
    return called if route and is_refreshed(route) else [*called, "reminder"]


def pause_after(attempts: int) -> timedelta:
    """How long to wait after some failed attempts: twice as long each time.

    Args:
        attempts: Attempts so far, 1 or more.
    """
    pause: timedelta = FIRST_PAUSE * 2 ** (attempts - 1)
    return min(pause, LONGEST_PAUSE)
