"""Reads from the counts how an objective stands: its budget, its burn rates and its state."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, select

from treadle.kernel.clock import duration
from treadle.monitoring.slo import ledger
from treadle.monitoring.slo.burn_rates import (
    Alert,
    Counts,
    Severity,
    alerts_of,
    budget_left,
    burn_rate,
    burns,
    in_words,
)
from treadle.monitoring.slo.model import BurnRate, SloState, SloStatus
from treadle.monitoring.tables import slo_alerts
from treadle.scope.model import ProjectSpec, Requirement

HOUR = timedelta(hours=1)
Key = tuple[str, str]
"""Name of an endpoint, and id of a requirement."""
Firing = Mapping[Key, Mapping[Severity, tuple[str, datetime]]]
"""Alerts that fire, by what they are about: severity → the project, and since when."""


class Slo(NamedTuple):
    """A requirement with an objective, at one endpoint.

    Attributes:
        endpoint: Name of the endpoint.
        spec: Declaration of its project.
        requirement: The requirement.
    """

    endpoint: str
    spec: ProjectSpec
    requirement: Requirement

    @property
    def key(self) -> Key:
        """What alerts are kept under."""
        return self.endpoint, self.requirement.id

    @property
    def project(self) -> str:
        """Name of the project."""
        return self.spec.project.name

    @property
    def period(self) -> timedelta:
        """Period of the objective."""
        return duration(self.requirement.over)


def standing(
    connection: Connection,
    slo: Slo,
    minute: datetime,
    firing: Firing,
) -> SloStatus:
    """Say how an objective stands.

    Args:
        connection: An open connection.
        slo: The objective.
        minute: Moment up to which events count, in whole minutes.
        firing: Alerts that fire.
    """
    requirement = slo.requirement
    until = _judged_until(connection, slo, minute)
    alerts = alerts_of(slo.period)
    lengths = {length for alert in alerts for length in (alert.long, alert.short)}
    period_start = _full_hour(minute - slo.period)
    moments = [minute, period_start, until, *(until - length for length in sorted(lengths))]
    states = ledger.states(connection, slo.endpoint, requirement.condition, moments)
    ever, before_period, newest, *earlier = states
    windows = {
        length: newest - state for length, state in zip(sorted(lengths), earlier, strict=True)
    }
    period = ever - before_period
    objective = requirement.objective_share
    rates = [_rate(alert, slo.period, windows, objective) for alert in alerts]
    left = budget_left(period, objective)
    fires = firing.get(slo.key, {})
    state = _state(rates, fires, left)
    return SloStatus(
        project=slo.project,
        endpoint=slo.endpoint,
        slo=requirement.id,
        says=requirement.says,
        condition=requirement.condition,
        of="requests" if requirement.is_of_requests else "windows",
        objective=objective,
        over=requirement.over,
        until=until,
        good=period.good,
        total=period.total,
        share=period.good / period.total if period.total else None,
        budget_left=left,
        burn_rates=rates,
        state=state,
        since=fires[state][1] if state == "page" or state == "ticket" else None,
        good_ever=ever.good,
        total_ever=ever.total,
    )


def firing_alerts(connection: Connection) -> Firing:
    """Read the alerts that fire.

    Args:
        connection: An open connection.
    """
    firing: dict[Key, dict[Severity, tuple[str, datetime]]] = {}
    for row in connection.execute(select(slo_alerts)).all():
        firing.setdefault((row.endpoint, row.slo), {})[row.severity] = (row.project, row.since)
    return firing


def _judged_until(connection: Connection, slo: Slo, minute: datetime) -> datetime:
    """The moment at which the windows of alerts end.

    Windows of monitoring are judged now and then: between two of them the newest one still counts,
    unless the next one is overdue.
    """
    if slo.requirement.is_of_requests:
        return minute
    newest = ledger.newest_minute(connection, slo.endpoint, slo.requirement.condition)
    if newest is None or minute - newest >= 2 * duration(slo.spec.monitoring.window):
        return minute
    return min(newest, minute)


def _full_hour(moment: datetime) -> datetime:
    """The start of the hour, to which old counts are kept."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _rate(
    alert: Alert, period: timedelta, windows: Mapping[timedelta, Counts], objective: float
) -> BurnRate:
    long, short, limit = windows[alert.long], windows[alert.short], alert.limit(period)
    return BurnRate(
        severity=alert.severity,
        long=in_words(alert.long),
        short=in_words(alert.short),
        limit=limit,
        long_rate=burn_rate(long, objective),
        short_rate=burn_rate(short, objective),
        fires=burns(long, short, limit=limit, objective=objective),
    )


def _state(rates: list[BurnRate], fires: Mapping[Severity, object], left: float | None) -> SloState:
    if "page" in fires:
        return "page"
    if "ticket" in fires:
        return "ticket"
    if left is not None and left <= 0:
        return "spent"
    return "no data" if rates[0].long_rate is None else "met"
