"""Types and events of alerts, incidents, silences, messages and reviews."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.monitoring.slo.model import BudgetSpent
from treadle.scope.alerting import AlertKind, Severity

IncidentState = Literal["open", "acknowledged", "resolved"]
Change = Literal["opened", "reopened", "raised", "acknowledged", "resolved", "reminder"]
"""What people are told of an incident."""
MessageState = Literal["waiting", "sent", "dead", "cancelled"]


class Alert(Entity):
    """Something that is out of bounds, as part of an incident.

    Attributes:
        key: What tells it apart from other alerts of the project.
        kind: What it is.
        endpoint: The endpoint that it is about; empty for none.
        severity: How urgent it is.
        says: The newest finding in a sentence.
        count: Events that have raised it.
        first_event: Number of the first of them.
        last_event: Number of the newest event about it.
        first_at: When it was first raised.
        last_at: When it was last raised.
        since: Moment from which the trouble holds, as far as is known.
        window: Start of the newest window of monitoring that shows it; None for what is not found
            in windows.
        metric: The metric whose windows show it; empty for none.
        labelled: Whether only windows with labels show it.
        runbook: URL or path of what to do; empty for none.
        cleared_at: When it ended; None while it holds.
    """

    key: str
    kind: AlertKind
    endpoint: str
    severity: Severity
    says: str
    count: int
    first_event: int
    last_event: int
    first_at: datetime
    last_at: datetime
    since: datetime
    window: datetime | None
    metric: str
    labelled: bool
    runbook: str
    cleared_at: datetime | None


class FollowUp(Entity):
    """Something to do after an incident.

    Attributes:
        text: What is to be done.
        done: Whether it is done.
    """

    text: str
    done: bool = False


class Incident(Entity):
    """Alerts with one cause, as one thing to attend to.

    Attributes:
        id: Number of the event that opened it.
        project: Name of the project; None for alerts of none.
        endpoint: The endpoint that it is about; empty where it is about the project.
        title: The alert that opened it, in a sentence.
        severity: The highest severity that its alerts have had.
        state: Open, acknowledged or resolved.
        opened_at: When its first alert was raised.
        times_opened: How often it was opened: 1, and one more each time that it came back.
        began_at: When it was opened the last time.
        last_at: When an alert of it was last raised.
        acknowledged_at: When somebody acknowledged it, since it was opened the last time.
        acknowledged_by: Who did.
        resolved_at: When it was resolved; None while it is not.
        resolved_by: Who resolved it; ``treadle`` where all alerts had ended.
        roles: Who does what, by role, such as ``lead``.
        alerts: Its alerts, in the order in which they came.
        silenced_until: Until when nobody is told of it; None where it is not silenced.
    """

    id: int
    project: str | None
    endpoint: str
    title: str
    severity: Severity
    state: IncidentState
    opened_at: datetime
    times_opened: int
    began_at: datetime
    last_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str
    resolved_at: datetime | None
    resolved_by: str
    roles: dict[str, str]
    alerts: list[Alert]
    silenced_until: datetime | None = None

    @property
    def firing(self) -> list[Alert]:
        """Its alerts that hold now."""
        return [alert for alert in self.alerts if alert.cleared_at is None]


class Silence(Entity):
    """Incidents that nobody is told of for a time.

    Attributes:
        id: Id of the silence.
        project: Project whose incidents it is about.
        endpoint: Their endpoint; empty for any.
        kind: Kind of their alerts; empty for any.
        severity: Severity of their alerts; empty for any.
        until: When it ends.
        reason: Why.
        by: Who made it.
        created_at: When it was made.
    """

    id: str
    project: str
    endpoint: str
    kind: str
    severity: str
    until: datetime
    reason: str
    by: str
    created_at: datetime


class Message(Entity):
    """What people are told of an incident by one route.

    Attributes:
        id: Id of the message; it stays the same when it is sent again.
        incident: The incident.
        change: What it tells.
        route: The route's address, without secrets.
        state: Waiting to be sent, sent, dead (given up), or cancelled.
        due_at: When it was due.
        attempts: How often it was tried.
        next_at: When it is tried next, while it waits.
        sent_at: When it was sent; None if it was not.
        error: Why it could not be sent; empty where it could.
    """

    id: str
    incident: int
    change: Change
    route: str
    state: MessageState
    due_at: datetime
    attempts: int
    next_at: datetime
    sent_at: datetime | None
    error: str


class TimelineEntry(Entity):
    """Something that happened in the course of an incident.

    Attributes:
        at: When.
        event: Number of the event that tells of it.
        actor: Who did it.
        what: What it is, such as ``drift`` or ``acknowledged``.
        says: What happened, in a sentence.
    """

    at: datetime
    event: int
    actor: str
    what: str
    says: str


class Review(Entity):
    """An incident's review: what the event log and the counts say, and what people add.

    Attributes:
        incident: The incident with its alerts.
        detected_after_seconds: Seconds from the beginning of the trouble to the incident.
        acknowledged_after_seconds: Seconds from then until somebody attended to it; None where
            nobody did.
        resolved_after_seconds: Seconds from then until it was resolved; None while it is not.
        answered: Predictions that callers got while it was open; None where it is about no
            endpoint.
        budgets: What that time has cost the endpoint's objectives.
        causes: What led to it, the first cause first.
        timeline: What happened in its course.
        follow_ups: What is to be done.
        aligned: Whether retraining was aligned with the requirements; None while nobody has said.
        summary: What people say about it.
        closed: Whether the review is closed.
    """

    incident: Incident
    detected_after_seconds: float
    acknowledged_after_seconds: float | None
    resolved_after_seconds: float | None
    answered: int | None
    budgets: list[BudgetSpent]
    causes: list[TimelineEntry]
    timeline: list[TimelineEntry]
    follow_ups: list[FollowUp]
    aligned: bool | None
    summary: str
    closed: bool

    @property
    def decisions(self) -> list[TimelineEntry]:
        """What the loop did about it, or why it did nothing."""
        return [entry for entry in self.timeline if entry.what == "decision"]


class Outcome(Entity):
    """Whether a route's test message has arrived.

    Attributes:
        route: The route's address, without secrets.
        sent: Whether it was sent.
        error: Why not; empty where it was.
    """

    route: str
    sent: bool
    error: str


class _IncidentEvent(Event):
    incident: int
    project: str | None

    @property
    def subject(self) -> str:
        return f"incident:{self.incident}"


class IncidentOpened(_IncidentEvent):
    """An alert has opened an incident."""

    endpoint: str
    severity: Severity
    kind: AlertKind
    says: str


class IncidentGrew(_IncidentEvent):
    """Another alert has joined an incident."""

    endpoint: str
    severity: Severity
    kind: AlertKind
    says: str


class IncidentReopened(_IncidentEvent):
    """A resolved incident has come back."""

    endpoint: str
    severity: Severity
    kind: AlertKind
    says: str


class IncidentAcknowledged(_IncidentEvent):
    """Somebody attends to an incident."""


class IncidentRoleAssigned(_IncidentEvent):
    """Somebody has a role in an incident."""

    role: str
    person: str


class IncidentNoted(_IncidentEvent):
    """Somebody has written a note to an incident."""

    text: str


class IncidentResolved(_IncidentEvent):
    """An incident has ended.

    Attributes:
        reason: Why: what a person says, or that all its alerts have ended.
        at: When it ended, which may be before it was noticed.
    """

    reason: str
    at: datetime


class IncidentMessageSent(_IncidentEvent):
    """People were told of an incident."""

    change: Change
    route: str


class IncidentMessageDied(_IncidentEvent):
    """People could not be told of an incident; it is not tried again."""

    change: Change
    route: str
    error: str


class FollowUpAdded(_IncidentEvent):
    """Something is to be done after an incident."""

    text: str


class FollowUpDone(_IncidentEvent):
    """What was to be done after an incident is done."""

    text: str


class IncidentReviewed(_IncidentEvent):
    """An incident's review was closed.

    Attributes:
        aligned: Whether retraining was aligned with the requirements.
        summary: What people say about it.
    """

    aligned: bool
    summary: str


class SilenceMade(Event):
    """Nobody is told of some incidents for a time."""

    silence: str
    project: str
    endpoint: str
    kind: str
    severity: str
    until: datetime
    reason: str

    @property
    def subject(self) -> str:
        return f"silence:{self.silence}"


class SilenceEnded(Event):
    """Somebody has ended a silence before its time."""

    silence: str
    project: str

    @property
    def subject(self) -> str:
        return f"silence:{self.silence}"
