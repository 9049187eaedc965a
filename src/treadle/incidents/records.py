"""Reads and writes the rows of incidents, alerts, silences and messages."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from treadle.incidents.model import Alert, FollowUp, Incident, Message, Silence
from treadle.incidents.tables import alerts, incidents, messages, silences
from treadle.kernel.entity import Entity, fields, from_json, to_text
from treadle.kernel.errors import NotFound
from treadle.ports.database import load

_KEPT_ELSEWHERE = {"alerts", "silenced_until"}
"""Fields of an incident that are no columns of its row."""


class ReviewNotes(Entity):
    """What people have added to an incident's review.

    Attributes:
        follow_ups: What is to be done.
        aligned: Whether retraining was aligned with the requirements; None while nobody has said.
        summary: What people say about it.
        closed: Whether the review is closed.
    """

    follow_ups: list[FollowUp] = []
    aligned: bool | None = None
    summary: str = ""
    closed: bool = False


def read_incidents(
    connection: Connection,
    where: ColumnElement[bool],
    *order: ColumnElement[Any],
    limit: int = 1000,
    with_alerts: bool = True,
) -> list[Incident]:
    """Read incidents.

    Args:
        connection: An open connection.
        where: Which.
        order: Their order; the newest first by default.
        limit: How many to give at most.
        with_alerts: Whether to read their alerts, too.
    """
    wanted = select(incidents).where(where).order_by(*(order or (incidents.c.id.desc(),)))
    rows = connection.execute(wanted.limit(limit)).mappings().all()
    own: dict[int, list[Alert]] = {row["id"]: [] for row in rows}
    if with_alerts and own:
        of_these = select(alerts).where(alerts.c.incident.in_(list(own)))
        in_order = of_these.order_by(alerts.c.first_event, alerts.c.key)
        for row in connection.execute(in_order).mappings():
            own[row["incident"]].append(load(Alert, row))
    return [incident_of(row, own[row["id"]]) for row in rows]


def read_incident(connection: Connection, id: int) -> Incident:
    """Read an incident.

    Args:
        connection: An open connection.
        id: Number of the incident.

    Raises:
        NotFound: There is no such incident.
    """
    found = read_incidents(connection, incidents.c.id == id)
    if not found:
        raise NotFound(f"There is no incident {id}. List them with: treadle incident")
    return found[0]


def incident_of(row: Mapping[Any, Any], own: list[Alert]) -> Incident:
    """Build an incident from its row.

    Args:
        row: Row of ``incidents`` by column name.
        own: Its alerts.
    """
    roles = from_json(row["roles"], dict[str, str])
    return load(Incident, row, roles=roles, alerts=own, silenced_until=None)


def write_incident(transaction: Connection, incident: Incident, *, new: bool = False) -> None:
    """Write an incident's row, without its alerts.

    Args:
        transaction: An open write transaction.
        incident: The incident.
        new: Whether it has no row yet.
    """
    values = {k: v for k, v in fields(incident).items() if k not in _KEPT_ELSEWHERE}
    values |= {"roles": to_text(incident.roles)}
    if new:
        transaction.execute(incidents.insert().values(**values, review=to_text(ReviewNotes())))
    else:
        own = incidents.c.id == incident.id
        transaction.execute(incidents.update().where(own).values(values))


def write_alert(transaction: Connection, incident: int, alert: Alert) -> None:
    """Write an alert of an incident.

    Args:
        transaction: An open write transaction.
        incident: Number of the incident.
        alert: The alert.
    """
    own = (alerts.c.incident == incident) & (alerts.c.key == alert.key)
    changed = transaction.execute(alerts.update().where(own).values(fields(alert)))
    if not changed.rowcount:
        transaction.execute(alerts.insert().values(incident=incident, **fields(alert)))


def read_notes(connection: Connection, incident: int) -> ReviewNotes:
    """Read what people have added to an incident's review.

    Args:
        connection: An open connection.
        incident: Number of the incident, which is there.
    """
    text = connection.scalar(select(incidents.c.review).where(incidents.c.id == incident))
    return from_json(text or "{}", ReviewNotes)


def write_notes(transaction: Connection, incident: int, notes: ReviewNotes) -> None:
    """Write what people have added to an incident's review.

    Args:
        transaction: An open write transaction.
        incident: Number of the incident.
        notes: All that they have added.
    """
    own = incidents.c.id == incident
    transaction.execute(incidents.update().where(own).values(review=to_text(notes)))


def read_silences(connection: Connection, where: ColumnElement[bool]) -> list[Silence]:
    """Read silences, those that end first before others.

    Args:
        connection: An open connection.
        where: Which.
    """
    wanted = select(silences).where(where).order_by(silences.c.until, silences.c.id)
    return [load(Silence, row) for row in connection.execute(wanted).mappings()]


def read_messages(connection: Connection, of: Iterable[int]) -> dict[int, list[Message]]:
    """Read the messages of incidents, the oldest first.

    Args:
        connection: An open connection.
        of: Numbers of the incidents.
    """
    wanted = select(messages).where(messages.c.incident.in_(list(of)))
    found: dict[int, list[Message]] = {}
    for row in connection.execute(wanted.order_by(messages.c.due_at, messages.c.id)).mappings():
        found.setdefault(row["incident"], []).append(load(Message, row))
    return found
