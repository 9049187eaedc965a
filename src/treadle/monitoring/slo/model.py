"""Types and events of service level objectives (SLOs)."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.monitoring.slo.burn_rates import Severity

SloState = Literal["met", "spent", "ticket", "page", "no data"]


class BurnRate(Entity):
    """One pair of windows of a burn-rate alert.

    Attributes:
        severity: What it calls for: a ``page`` or a ``ticket``.
        long: Length of the long window, such as ``1h``.
        short: Length of the short window, such as ``5m``.
        limit: Burn rate above which it fires.
        long_rate: Burn rate of the long window; None without events.
        short_rate: Burn rate of the short window; None without events.
        fires: Whether both are above the limit.
    """

    severity: Severity
    long: str
    short: str
    limit: float
    long_rate: float | None
    short_rate: float | None
    fires: bool


class SloStatus(Entity):
    """A service level objective of an endpoint, and how it stands.

    Attributes:
        project: Name of the project.
        endpoint: Name of the endpoint.
        slo: Id of the requirement that declares it.
        says: What it means, in words.
        condition: What makes an event good, such as ``latency_ms ≤ 250``.
        of: What its events are: ``requests``, or ``windows`` of monitoring.
        objective: Share of events that has to be good.
        over: Length of its period, such as ``30d``.
        until: Moment up to which events are counted; in whole minutes.
        good: Good events of the period.
        total: All events of the period.
        share: Share of good events in the period; None without events.
        budget_left: Share of the error budget that is left, below 0 where it is overspent; None
            without events.
        burn_rates: Pairs of windows, the most urgent first.
        state: The worst of ``page`` and ``ticket`` that fires; else ``spent`` where no budget is
            left, ``no data`` where the shortest of the long windows has no event, or ``met``.
        since: When the alert of that state began; None where none fires.
        good_ever: Good events since the SLO is counted.
        total_ever: All events since the SLO is counted.
    """

    project: str
    endpoint: str
    slo: str
    says: str
    condition: str
    of: Literal["requests", "windows"]
    objective: float
    over: str
    until: datetime
    good: int
    total: int
    share: float | None
    budget_left: float | None
    burn_rates: list[BurnRate]
    state: SloState
    since: datetime | None
    good_ever: int
    total_ever: int


class BudgetSpent(Entity):
    """What a time has cost an objective.

    Attributes:
        slo: Id of the requirement that declares it.
        condition: What makes an event good.
        bad: Bad events of the time.
        total: All events of the time.
        share: Share of the period's error budget that they have spent; None where the period has
            no events.
    """

    slo: str
    condition: str
    bad: int
    total: int
    share: float | None


class ReceivedAlert(Entity):
    """An alert of Alertmanager's.

    Attributes:
        fingerprint: Alertmanager's id of the alert's labels.
        status: Whether it fires or has ended.
        labels: Its labels; ``alertname`` is its name, ``project`` the project that it is about.
        annotations: Texts for people, such as ``summary``.
        starts_at: When it began.
    """

    fingerprint: str
    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime


class _SloEvent(Event):
    endpoint: str
    project: str
    slo: str
    severity: Severity

    @property
    def subject(self) -> str:
        return f"slo:{self.endpoint}/{self.slo}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"requirement:{self.project}/{self.slo}",)


class BudgetBurning(_SloEvent):
    """An error budget is spent so fast that somebody has to act.

    Attributes:
        condition: What makes an event good.
        windows: Pairs of windows that fire, such as ``1h/5m``.
        burn_rate: Highest burn rate of their long windows.
        budget_left: Share of the error budget that is left; below 0 where it is overspent.
        since: Minute from which the alert fires.
    """

    condition: str
    windows: list[str]
    burn_rate: float
    budget_left: float
    since: datetime


class BudgetRecovered(_SloEvent):
    """An error budget is no longer spent so fast.

    Attributes:
        since: Minute from which the alert has fired.
        reason: Why it ended.
        budget_left: Share of the error budget that is left; None without events.
    """

    since: datetime
    reason: str
    budget_left: float | None


class AlertReceived(Event):
    """Alertmanager has told that an alert fires, or has ended.

    Attributes:
        alert: Name of the alert.
        fingerprint: Alertmanager's id of it.
        status: ``firing`` or ``resolved``.
        severity: Its label ``severity``; empty where it has none.
        summary: Its annotation ``summary``; empty where it has none.
        labels: All its labels.
        since: When it began.
    """

    project: str | None
    alert: str
    fingerprint: str
    status: str
    severity: str
    summary: str
    labels: dict[str, str]
    since: datetime

    @property
    def subject(self) -> str:
        return f"alert:{self.fingerprint}"
