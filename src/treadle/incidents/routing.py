"""Plans who is told of an incident when: pure, from the incident and what was told before."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from treadle.incidents.model import Change, Incident
from treadle.kernel.clock import duration
from treadle.kernel.entity import to_text
from treadle.ports.blobs import digest_of
from treadle.scope.alerting import SEVERITIES, NotifyRoute, Severity, shown
from treadle.scope.calendars import calendar
from treadle.scope.model import ProjectSpec

FIRST: tuple[Change, ...] = ("opened", "reopened")
"""What a route tells first of an incident that was opened, or opened again."""
REFRESH_EVERY = timedelta(days=1)
"""Time after which Alertmanager is told again of an incident that is not resolved."""


class Told(NamedTuple):
    """What a route has told or is about to tell since an incident was opened the last time.

    Attributes:
        route: Key of the route.
        change: What it tells.
        severity: Severity of the incident then.
        due_at: When it was due.
    """

    route: str
    change: Change
    severity: Severity
    due_at: datetime


class Planned(NamedTuple):
    """What is to be told now.

    Attributes:
        id: Id of the message: the same for the same thing, however often it is planned.
        route: Key of the route.
        shown: The route's address, without secrets.
        change: What it tells.
        severity: Severity of the incident.
        due_at: When it was due.
    """

    id: str
    route: str
    shown: str
    change: Change
    severity: Severity
    due_at: datetime


def key_of(route: NotifyRoute) -> str:
    """What tells a route apart: another key means that nothing was told by it yet.

    Args:
        route: The route.
    """
    parts = [route.to, route.secret, route.severities, route.during, route.after]
    return digest_of(to_text(parts).encode())


def plan(
    incident: Incident, spec: ProjectSpec, told: Sequence[Told], now: datetime
) -> list[Planned]:
    """What is to be told of an incident by now, beside what was told before.

    Args:
        incident: The incident.
        spec: Declaration of its project.
        told: What was told since it was opened the last time.
        now: The present time.
    """
    if incident.silenced_until is not None:
        return []
    wait = duration(spec.incidents.wait)
    routes = {key_of(route): route for route in spec.notify}
    planned = []
    for key, route in routes.items():
        own = [one for one in told if one.route == key]
        for change, due in _changes(incident, route, own, wait, now):
            repeat = int(due.timestamp()) if change == "reminder" else 0
            name = f"{incident.id}/{incident.times_opened}/{key}/{change}/{repeat}"
            if change == "raised":
                name += f"/{incident.severity}"
            id = digest_of(name.encode())
            planned.append(Planned(id, key, shown(route.to), change, incident.severity, due))
    return planned


def _changes(
    incident: Incident,
    route: NotifyRoute,
    told: Sequence[Told],
    wait: timedelta,
    now: datetime,
) -> Iterator[tuple[Change, datetime]]:
    """What a route tells now, and when it was due."""
    first = next((one for one in told if one.change in FIRST), None)
    if first is None:
        due = _first_due(incident, route, wait)
        if due is not None and due <= now:
            yield ("opened" if incident.times_opened == 1 else "reopened"), due
        return
    for change, moment in _later(incident, told, wait):
        due = opens(route, moment)
        if due <= now and not _was_told(told, change, incident.severity):
            yield change, due
    every = _pause(route, incident)
    if every is not None:
        reminded = max(one.due_at for one in told if one.change in (*FIRST, "reminder"))
        if now - reminded >= every:  # of those that were missed, the newest only
            due = opens(route, reminded + (now - reminded) // every * every)
            if due <= now:
                yield "reminder", due


def _pause(route: NotifyRoute, incident: Incident) -> timedelta | None:
    """Time between two reminders; None where there are none."""
    declared = duration(route.every) if route.every and incident.state == "open" else None
    if not is_refreshed(route) or incident.state == "resolved":
        return declared
    return min(declared or REFRESH_EVERY, REFRESH_EVERY)


def _first_due(incident: Incident, route: NotifyRoute, wait: timedelta) -> datetime | None:
    """When a route first tells of an incident; None where it does not."""
    if incident.severity not in route.severities:
        return None
    if incident.resolved_at is not None:
        return None
    if incident.acknowledged_at is not None and is_escalation(route):
        return None
    return opens(route, incident.began_at + max(wait, duration(route.after)))


def _later(
    incident: Incident, told: Iterable[Told], wait: timedelta
) -> Iterator[tuple[Change, datetime]]:
    """What may be told after the first message, and from when."""
    if incident.resolved_at is not None:
        yield "resolved", incident.resolved_at + wait
        return
    if incident.acknowledged_at is not None:
        yield "acknowledged", incident.acknowledged_at
    highest = max(SEVERITIES.index(one.severity) for one in told)
    if SEVERITIES.index(incident.severity) > highest:
        yield "raised", incident.last_at


def _was_told(told: Iterable[Told], change: Change, severity: Severity) -> bool:
    if change == "raised":
        return any(one.change == change and one.severity == severity for one in told)
    return any(one.change == change for one in told)


def is_escalation(route: NotifyRoute) -> bool:
    """Whether a route tells only of what nobody has acknowledged.

    Args:
        route: The route.
    """
    return duration(route.after) > timedelta()


def is_refreshed(route: NotifyRoute) -> bool:
    """Whether a receiver forgets an incident that it hears nothing of, also an acknowledged one.

    Args:
        route: The route.
    """
    return route.to.startswith("alertmanager+")


def opens(route: NotifyRoute, moment: datetime) -> datetime:
    """The first moment from another on at which a route may tell.

    Args:
        route: The route.
        moment: The moment.
    """
    return _opens(route.during, moment) if route.during else moment


@lru_cache(maxsize=4096)
def _opens(during: str, moment: datetime) -> datetime:
    """The same of a calendar's text: it is asked for each open incident all the time."""
    return calendar(during).next(moment)
