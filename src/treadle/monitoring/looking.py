"""Shows a window to monitors, and turns what they find into events and into the window's facts."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import TreadleError
from treadle.kernel.event import Event
from treadle.monitoring.model import (
    ColumnDrift,
    DriftFound,
    FindingRaised,
    LabelsMissing,
    Measure,
    ModelStale,
    MonitorFailed,
    RequirementMissed,
)
from treadle.monitoring.monitors.drift import Drift
from treadle.monitoring.monitors.estimated_performance import EstimatedPerformance
from treadle.monitoring.monitors.latency import Latency
from treadle.monitoring.monitors.missing_labels import MissingLabels
from treadle.monitoring.monitors.performance import Performance
from treadle.monitoring.monitors.staleness import Staleness
from treadle.ports.monitor import Context, Finding, Monitor, Policy
from treadle.scope.model import ProjectSpec

log = logging.getLogger(__name__)
NAMED = 3
"""Findings of one monitor that a line of the log names."""


class Looked(NamedTuple):
    """What one monitor has found in a window.

    Attributes:
        monitor: The monitor's name.
        findings: What it has measured, raised or not.
        failure: Why it could not look; empty when it could.
    """

    monitor: str
    findings: Sequence[Finding]
    failure: str = ""


def look(monitors: Sequence[Monitor], context: Context) -> list[Looked]:
    """Show a window to monitors, each as much of it as it needs.

    Args:
        monitors: The monitors that look at it now.
        context: The window, with all that any of them needs.

    Returns:
        One entry per monitor. One that raises has found nothing and names its failure.
    """
    return [_looked(monitor, context.narrowed(monitor.needs)) for monitor in monitors]


def policy_of(spec: ProjectSpec) -> Policy:
    """What monitors are told of a project's declaration.

    Args:
        spec: The declaration.
    """
    return Policy(
        effect=spec.monitoring.effect,
        min_labels=spec.monitoring.min_labels,
        labelled=spec.labelled is not None,
        older_than=spec.retrain.older_than,
    )


def events_of(looked: Sequence[Looked], context: Context) -> Iterator[Event]:
    """The events of what monitors have raised in a window.

    Args:
        looked: What each monitor has found.
        context: The window.
    """
    about: dict[str, Any] = {
        "endpoint": context.endpoint,
        "project": context.project,
        "version": context.window.version,
        "start": context.window.start,
    }
    for monitor, findings, failure in looked:
        raised = [finding for finding in findings if finding.raised]
        if failure:
            yield MonitorFailed(**about, monitor=monitor, reason=failure)
        elif monitor == Drift.name:
            yield from _drift_found(about, raised)
        elif monitor in (Latency.name, Performance.name):
            yield from _requirements_missed(about, raised, context)
        elif monitor == Staleness.name:
            yield from (ModelStale(**about, age_days=finding.value) for finding in raised)
        elif monitor == MissingLabels.name:
            rows = context.window.rows
            for finding in raised:
                yield LabelsMissing(**about, labelled=int(finding.value), rows=rows)
        else:
            yield from (_raised(about, monitor, finding) for finding in raised)


def lines_of(looked: Sequence[Looked]) -> Iterator[str]:
    """What is out of bounds in a window, as lines of a log: one for each monitor.

    Args:
        looked: What each monitor has found.
    """
    for monitor, findings, _ in looked:
        raised = sorted((one for one in findings if one.raised), key=lambda one: -one.value)
        if raised:
            told = " ".join(one.message for one in raised[:NAMED])
            more = f" And {len(raised) - NAMED} more." if len(raised) > NAMED else ""
            yield f"window {raised[0].since:%Y-%m-%d %H:%M}, {monitor}: {told}{more}"


def drift_of(looked: Sequence[Looked]) -> list[ColumnDrift]:
    """Every column's drift, as the window keeps it.

    Args:
        looked: What each monitor has found.
    """
    return [
        ColumnDrift(column=found.subject, psi=found.value, p=found.p, drifted=found.raised)
        for monitor, findings, _ in looked
        for found in findings
        if monitor == Drift.name and found.p is not None
    ]


def measures_of(looked: Sequence[Looked]) -> list[Measure]:
    """Every metric over labelled answers, as the window keeps it.

    Args:
        looked: What each monitor has found.
    """
    return _measured_by(Performance.name, looked)


def estimates_of(looked: Sequence[Looked]) -> list[Measure]:
    """Every metric that was estimated without labels, as the window keeps it.

    Args:
        looked: What each monitor has found.
    """
    return _measured_by(EstimatedPerformance.name, looked)


def _measured_by(name: str, looked: Sequence[Looked]) -> list[Measure]:
    """The metrics that one monitor has measured with their intervals, each once."""
    measured = {
        found.subject: Measure(
            metric=found.subject, value=found.value, low=found.low, high=found.high
        )
        for monitor, findings, _ in looked
        for found in findings
        if monitor == name and found.low is not None and found.high is not None
    }
    return list(measured.values())


def _looked(monitor: Monitor, context: Context) -> Looked:
    try:
        findings = [_checked(finding) for finding in monitor.look(context)]
    except TreadleError as error:
        log.warning("monitor '%s': %s", monitor.name, error.message)
        return Looked(monitor.name, [], error.message)
    except Exception as error:
        log.exception("monitor '%s' failed at endpoint '%s'", monitor.name, context.endpoint)
        return Looked(monitor.name, [], f"{type(error).__name__}: {error}")
    return Looked(monitor.name, findings)


def _checked(finding: Finding) -> Finding:
    """A finding as it can be stored: its types are right and its numbers finite."""
    return from_json(to_json(finding), Finding)


def _drift_found(about: Mapping[str, Any], raised: list[Finding]) -> Iterator[Event]:
    """One event for all columns, the strongest first."""
    if raised:
        moved = sorted(raised, key=lambda finding: -finding.value)
        columns = [finding.subject for finding in moved]
        yield DriftFound(**about, columns=columns, strongest=columns[0], psi=moved[0].value)


def _requirements_missed(
    about: Mapping[str, Any], raised: list[Finding], context: Context
) -> Iterator[Event]:
    bounds = {requirement.id: requirement.bound for requirement in context.requirements}
    for finding in raised:
        yield RequirementMissed(
            **about,
            requirement=finding.name,
            metric=finding.subject,
            bound=bounds[finding.name],
            value=round(finding.value, 5),
        )


def _raised(about: Mapping[str, Any], monitor: str, finding: Finding) -> Event:
    return FindingRaised(
        **about,
        monitor=monitor,
        name=finding.name,
        measured=finding.subject,
        value=finding.value,
        threshold=finding.threshold,
        p=finding.p,
        since=finding.since,
        message=finding.message,
        trigger=finding.trigger,
    )
