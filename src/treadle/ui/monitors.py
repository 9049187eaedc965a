"""Pages of monitoring: performance, drift, error budgets, and what the loop did about them."""

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.delivery.model import Rollout
from treadle.loop.model import LoopDecision
from treadle.monitoring.model import Measure, Window
from treadle.scope.model import Requirement
from treadle.ui.heat import drift_map
from treadle.ui.series import Happened, Series, over_time
from treadle.ui.site import Page, Visit

SHOWN = 60
"""Windows that the page shows unless it is asked for more."""
MOST = 365
PAST = 100
"""Rollouts and decisions that are looked at."""
LATENCY = "latency_ms.p99"
FATES = {"promoted": "rollout", "rolled back": "rollback", "aborted": "rollback"}
"""Which ends of a rollout are marked in charts, and as what."""


def _overview(visit: Visit) -> Mapping[str, Any]:
    ask = visit.ask
    endpoints = ask.delivery.endpoints()
    newest = [(one, ask.monitoring.windows(endpoint=one.name, limit=1)) for one in endpoints]
    return {
        "rows": [(one, windows[0] if windows else None) for one, windows in newest],
        "objectives": ask.slo.status(),
    }


def _endpoint(visit: Visit) -> Mapping[str, Any]:
    ask, name = visit.ask, visit.path["endpoint"]
    endpoint = ask.delivery.endpoint(name=name)
    asked = visit.query.get("windows", "")
    limit = min(int(asked), MOST) if asked.isascii() and asked.isdigit() and asked != "0" else SHOWN
    windows = ask.monitoring.windows(endpoint=name, limit=limit)[::-1]
    status = ask.loop.status(project=endpoint.project)
    decisions = ask.loop.decisions(project=endpoint.project, limit=PAST)
    rollouts = ask.delivery.rollouts(endpoint=name, limit=PAST)
    marks = _marks(windows, rollouts, decisions)
    requirements = ask.scope.project(name=endpoint.project).spec.requirement
    is_main = status.window is not None and status.window.endpoint == name
    return {
        "endpoint": endpoint,
        "windows": windows[::-1],
        "limit": limit,
        "heat": drift_map([one for one in windows if one.drift]),
        "charts": _charts(windows, requirements, marks),
        "concerns": status.concerns if is_main else [],
        "objectives": [one for one in status.objectives if one.endpoint == name],
        "decisions": decisions[:20],
    }


def _marks(
    windows: Sequence[Window], rollouts: Sequence[Rollout], decisions: Sequence[LoopDecision]
) -> list[Happened]:
    """What was done while the windows went by, oldest first."""
    if not windows:
        return []
    told = [
        Happened(one.ended_at, FATES[one.state], f"{one.version} {one.state}")
        for one in rollouts
        if one.ended_at is not None and one.state in FATES
    ]
    told += [
        Happened(one.at, "retrain", "retrain")
        for one in decisions
        if one.outcome == "acted" and one.rule.startswith("retrain")
    ]
    return sorted(one for one in told if windows[0].start <= one.at)


def _charts(
    windows: Sequence[Window], requirements: Sequence[Requirement], marks: Sequence[Happened]
) -> list[tuple[str, str]]:
    """The charts of an endpoint's windows: what each shows, and its data."""
    if not windows:
        return []
    ends = [one.end for one in windows]
    declared = {one.metric: one for one in requirements}
    limits = {one.metric: one.limit for one in requirements}
    shown = dict.fromkeys([*declared, *(one.metric for each in windows for one in each.measures)])
    charts = []
    for metric in shown:
        drawn = _performance(windows, metric, limits.get(metric))
        if drawn is not None:
            lines, band = drawn
            named = f"{declared[metric].id}: {metric}" if metric in declared else metric
            charts.append((named, over_time(ends, lines, marks, band=band)))
    latency = Series(
        "99 % quantile, ms", [one.latency_ms_p99 if one.rows else None for one in windows]
    )
    lines = [latency, *_line(windows, limits.get(LATENCY))]
    charts.append(("Latency", over_time(ends, lines, marks)))
    answers = Series("answers", [one.rows for one in windows])
    labels = Series(
        "labels that came in time",
        [one.labels if one.state == "complete" else None for one in windows],
    )
    failed = Series("errors", [one.errors for one in windows], "--bad")
    charts.append(("Answers, their labels, and errors", over_time(ends, [answers, labels, failed])))
    return charts


def _performance(
    windows: Sequence[Window], metric: str, bound: float | None
) -> tuple[list[Series], tuple[int, int] | None] | None:
    """The lines of a metric over windows, and which two are its interval; None without values."""
    measured = [_of(window.measures, metric) for window in windows]
    estimated = [_of(window.estimates, metric) for window in windows]
    if not any(measured) and not any(estimated):
        return None
    lines: list[Series] = []
    band = None
    if any(measured):  # what is drawn first lies below
        band = (0, 1)
        lines = [
            Series("95 % from", [one.low if one else None for one in measured], "--line"),
            Series("to", [one.high if one else None for one in measured], "--line"),
        ]
    if any(estimated):
        values = [one.value if one else None for one in estimated]
        lines.append(Series("estimated without labels", values, "--c3", dashed=True))
    if any(measured):
        lines.append(Series("measured", [one.value if one else None for one in measured], "--c1"))
    return [*lines, *_line(windows, bound)], band


def _of(measures: Sequence[Measure], metric: str) -> Measure | None:
    return next((one for one in measures if one.metric == metric), None)


def _line(windows: Sequence[Window], bound: float | None) -> list[Series]:
    """The requirement's bound as a line; nothing where there is none."""
    return [] if bound is None else [Series("bound", [bound] * len(windows), "--bad", dashed=True)]


PAGES = (
    Page("/monitoring", "Monitoring", "monitoring.html", _overview),
    Page("/monitoring/{endpoint}", "Monitoring", "monitoring_endpoint.html", _endpoint),
)
