"""Says when an alert has ended by itself: after windows or time without a finding."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice, takewhile

from treadle.incidents.model import Alert
from treadle.kernel.clock import duration
from treadle.monitoring.model import Window
from treadle.scope.alerting import AlertKind, IncidentPolicy
from treadle.scope.model import ProjectSpec
from treadle.stats.metrics import is_metric

ONE_OFF: tuple[AlertKind, ...] = (
    "failed training",
    "refused candidate",
    "rollback",
    "failed job",
)
"""Kinds of what happens once: they end with the next success, or with time."""
TOLD: tuple[AlertKind, ...] = ("burning budget", "alert")
"""Kinds that end by an event only."""
_DAY = timedelta(days=1)


def ended_at(
    alert: Alert, spec: ProjectSpec | None, windows: Iterable[Window], moment: datetime
) -> datetime | None:
    """When an alert has ended by itself, as far as is known at a moment; None while it holds.

    Args:
        alert: An alert that holds.
        spec: Declaration of its project; None where there is none.
        windows: Windows of its endpoint, the oldest first; no more are read than are needed.
        moment: Windows that had not ended by then, or whose labels were not due, do not count.
    """
    policy = spec.incidents if spec else IncidentPolicy()
    if alert.window is not None:
        delay = _label_delay(spec) if alert.labelled else timedelta()
        ended = takewhile(lambda window: window.end + delay <= moment, windows)
        later = (window for window in ended if window.start > alert.window)
        could = (window for window in later if _could_show(alert, window, spec))
        quiet = list(islice(could, policy.quiet_windows))
        return quiet[-1].end + delay if len(quiet) == policy.quiet_windows else None
    if alert.kind in ONE_OFF:
        length = duration(spec.monitoring.window) if spec else _DAY
        end = alert.last_at + policy.quiet_windows * length
        return end if end <= moment else None
    return None


def needs_labels(at: datetime, window: datetime, spec: ProjectSpec | None) -> bool:
    """Whether a finding came so late that it was found in a window with labels.

    Args:
        at: When it was found.
        window: Start of its window.
        spec: Declaration of its project; None where there is none.
    """
    delay = _label_delay(spec)
    length = duration(spec.monitoring.window) if spec else _DAY
    return delay > timedelta() and at >= window + length + delay


def _could_show(alert: Alert, window: Window, spec: ProjectSpec | None) -> bool:
    """Whether a window would have shown the trouble: silence of one that cannot proves nothing."""
    if not window.rows or (alert.labelled and window.state != "complete"):
        return False
    if alert.kind == "drift":
        return bool(window.drift)
    declared = spec is not None and any(one.metric == alert.metric for one in spec.requirement)
    if declared and is_metric(alert.metric):
        return any(measure.metric == alert.metric for measure in window.measures)
    return True


def _label_delay(spec: ProjectSpec | None) -> timedelta:
    return duration(spec.labelled.label_delay) if spec and spec.labelled else timedelta()
