"""Judges windows of monitoring for SLOs: each window that shows a metric is one event."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from treadle.kernel.errors import NotFound
from treadle.monitoring.model import Window
from treadle.monitoring.monitors.latency import METRIC as LATENCY
from treadle.monitoring.monitors.latency import MIN_ROWS
from treadle.monitoring.slo.burn_rates import Counts
from treadle.monitoring.slo.ledger import MINUTE, minute_of
from treadle.registry.model import ModelVersion
from treadle.scope.model import OF_WINDOWS, Requirement

Resolve = Callable[[str], ModelVersion]


def needs_labels(requirement: Requirement) -> bool:
    """Whether a window shows the metric only once its labels are due.

    Args:
        requirement: A requirement on windows.
    """
    return requirement.metric not in (LATENCY, *OF_WINDOWS)


def judged(
    requirement: Requirement, windows: Iterable[Window], label_delay: timedelta, resolve: Resolve
) -> dict[datetime, Counts]:
    """Count the good ones of windows, in the minute in which each could be judged.

    Windows that do not show the metric, as those with too few answers or labels, do not count.

    Args:
        requirement: A requirement on windows.
        windows: The windows.
        label_delay: How long after a window's end its labels are due.
        resolve: Finds a version by its reference.

    Returns:
        End of a minute → the windows that could be judged then.
    """
    counts: dict[datetime, Counts] = {}
    delay = label_delay if needs_labels(requirement) else timedelta()
    for window in windows:
        good = _is_good(requirement, window, resolve)
        if good is None:
            continue
        known = window.end + delay
        until = minute_of(known) + (MINUTE if minute_of(known) != known else timedelta())
        before = counts.get(until, Counts())
        counts[until] = Counts(before.good + good, before.total + 1)
    return counts


def _is_good(requirement: Requirement, window: Window, resolve: Resolve) -> bool | None:
    """Whether a window meets the bound; None where it does not show the metric.

    A metric over labels misses the bound when its whole 95 % interval does, as in
    ``RequirementMissed``.
    """
    if requirement.metric == LATENCY:
        enough = window.rows >= MIN_ROWS
        return requirement.met_by(window.latency_ms_p99) if enough else None
    if requirement.metric in OF_WINDOWS:
        try:
            age = window.end - resolve(window.champion).created_at
        except NotFound:
            return None  # it was deleted since
        return requirement.met_by(age / timedelta(days=1))
    for measure in window.measures:
        if measure.metric == requirement.metric:
            return requirement.met_by(measure.low) or requirement.met_by(measure.high)
    return None
