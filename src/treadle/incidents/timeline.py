"""Reads the course of an incident from the event log."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from treadle.events.model import EventRecord
from treadle.events.service import Events
from treadle.incidents.model import Incident, TimelineEntry
from treadle.incidents.signals import signal_of
from treadle.kernel.errors import NotFound

MOST_ALERTS = 50
"""Alerts whose events are read; of a storm, the first ones tell enough."""
MOST_OF_A_TYPE = 100
DEEPEST = 12
"""Steps from cause to effect that are walked down."""


class Decided(NamedTuple):
    """What was decided about an event.

    Attributes:
        event: Number of the event.
        at: When.
        by: The rule that decided.
        says: What was decided and why, in words.
    """

    event: int
    at: datetime
    by: str
    says: str


Decisions = Callable[[Sequence[int]], Iterable[Decided]]


def timeline_of(
    incident: Incident, events: Events, asked: Iterable[Decisions]
) -> list[TimelineEntry]:
    """What happened in the course of an incident, in order.

    Args:
        incident: The incident with its alerts.
        events: The event log.
        asked: Give what was decided about events.
    """
    records = {record.number: record for record in _records(incident, events)}
    entries = [entry for record in records.values() if (entry := entry_of(record))]
    for decisions in asked:
        for decided in decisions(sorted(records)):
            entries.append(
                TimelineEntry(
                    at=decided.at,
                    event=decided.event,
                    actor=f"loop: {decided.by}",
                    what="decision",
                    says=decided.says,
                )
            )
    return sorted(entries, key=lambda entry: (entry.at, entry.event, entry.what == "decision"))


def causes_of(incident: Incident, events: Events) -> list[TimelineEntry]:
    """The chain of causes that ends in the event that opened an incident, the first cause first.

    It is empty where the log has a hole there: the rest of the incident's review is told all the
    same, and ``treadle events verify`` finds the hole.

    Args:
        incident: The incident.
        events: The event log.
    """
    try:
        chain = reversed(events.causes(number=incident.id))
    except NotFound:
        return []
    return [entry_of(record) or _bare(record) for record in chain]


def entry_of(record: EventRecord) -> TimelineEntry | None:
    """What an event tells in a timeline; None where it is no part of one.

    Args:
        record: The event.
    """
    if record.type in _OWN or record.type in _AROUND:
        what, says = (_OWN | _AROUND)[record.type]
        return _entry(record, what, says(record.body))
    signal = signal_of(record)
    if signal is None:
        return None
    if signal.raised:
        about = f"{signal.endpoint}: " if signal.endpoint else ""
        return _entry(record, signal.kind, f"{about}{signal.says}")
    return _entry(record, f"{signal.kind} ended", signal.says or record.subject)


def _records(incident: Incident, events: Events) -> Iterator[EventRecord]:
    """The events of an incident: its own, its alerts', their effects, and those around it."""
    yield from _own(incident, events)
    numbers = {
        number
        for alert in incident.alerts[:MOST_ALERTS]
        for number in (alert.first_event, alert.last_event)
    }
    for number in sorted(numbers):
        found = events.history(after=number - 1, before=number + 1, limit=1)
        yield from found
        if found and found[0].type not in _OWN:
            yield from _effects(number, events)
    if incident.project is not None:
        yield from _around(incident, events)


def _own(incident: Incident, events: Events) -> Iterator[EventRecord]:
    """The events of an incident itself; of a type with many, such as reminders, first and last."""
    for kind in _OWN:
        about: dict[str, Any] = {"subject": f"incident:{incident.id}", "type": kind}
        about |= {"limit": MOST_OF_A_TYPE}
        first = events.history(**about)
        yield from first
        if len(first) == MOST_OF_A_TYPE:
            yield from events.history(**about, after=first[-1].number, newest_first=True)


def _effects(number: int, events: Events) -> Iterator[EventRecord]:
    """What an event has led to, step by step."""
    level = [number]
    for _ in range(DEEPEST):
        below = [
            record
            for one in level[:MOST_OF_A_TYPE]
            for record in events.effects(number=one)
            if record.type not in _OWN
        ]
        yield from below
        level = [record.number for record in below]
        if not level:
            return


def _around(incident: Incident, events: Events) -> Iterator[EventRecord]:
    """What happened to the project, and at the endpoint, while the incident was open."""
    for kind in _AROUND:
        happened = events.history(
            type=kind, project=incident.project, after=incident.id, limit=MOST_OF_A_TYPE
        )
        for record in happened:
            endpoint = record.body.get("endpoint", incident.endpoint)
            in_time = incident.resolved_at is None or record.at <= incident.resolved_at
            if in_time and incident.endpoint in ("", endpoint):
                yield record


def _entry(record: EventRecord, what: str, says: str) -> TimelineEntry:
    return TimelineEntry(
        at=record.at, event=record.number, actor=record.actor, what=what, says=says
    )


def _bare(record: EventRecord) -> TimelineEntry:
    return _entry(record, record.type, record.subject)


Body = Mapping[str, Any]


def _version(body: Body) -> str:
    return f"{body['model']}:{body['number']}"


def _step(body: Body) -> str:
    return f"{_version(body)} at {body['step']} of {body['endpoint']}: {body['reason']}"


def _ended(body: Body) -> str:
    return f"{_version(body)} at {body['endpoint']}: {body['reason']}"


def _told(body: Body) -> str:
    return f"{body['change']}: {body['route']}"


def _raised(body: Body) -> str:
    return f"{body['severity']}: {body['says']}"


Words = dict[str, tuple[str, Callable[[Body], str]]]
_AROUND: Words = {
    "TrainingStarted": ("training started", lambda body: f"run {body['run']}"),
    "TrainingFinished": ("training finished", lambda body: f"run {body['run']}"),
    "VersionRegistered": ("version registered", _version),
    "VersionApproved": ("version approved", lambda body: f"{_version(body)}: {body['comment']}"),
    "RolloutStarted": ("rollout started", lambda body: f"{_version(body)} at {body['endpoint']}"),
    "RolloutAdvanced": ("rollout advanced", _step),
    "RolloutPromoted": ("rollout promoted", _ended),
    "RolloutAborted": ("rollout aborted", _ended),
    "RolloutPaused": ("rollout paused", _step),
    "RolloutResumed": ("rollout resumed", _step),
    "RowsCollected": ("labels came", lambda body: f"{body['rows']} labelled answers"),
    "ProjectDeclared": ("declaration changed", lambda body: f"treadle.toml of {body['project']}"),
}
"""Events that may matter to an incident of their project, with their words."""
_OWN: Words = {
    "IncidentOpened": ("opened", _raised),
    "IncidentGrew": ("grew", _raised),
    "IncidentReopened": ("reopened", _raised),
    "IncidentAcknowledged": ("acknowledged", lambda _: ""),
    "IncidentRoleAssigned": (
        "role assigned",
        lambda body: f"{body['role']}: {body['person'] or 'nobody'}",
    ),
    "IncidentNoted": ("note", lambda body: str(body["text"])),
    "IncidentResolved": ("resolved", lambda body: str(body["reason"])),
    "IncidentMessageSent": ("people told", _told),
    "IncidentMessageDied": ("not told", lambda body: f"{_told(body)}: {body['error']}"),
    "FollowUpAdded": ("follow-up", lambda body: str(body["text"])),
    "FollowUpDone": ("follow-up done", lambda body: str(body["text"])),
    "IncidentReviewed": (
        "reviewed",
        lambda body: f"retraining aligned: {'yes' if body['aligned'] else 'no'}",
    ),
}
"""Events of incidents themselves, with their words."""
