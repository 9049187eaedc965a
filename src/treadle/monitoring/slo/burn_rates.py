"""Error budgets and multi-window burn-rate alerts, as in Google's SRE Workbook, chapter 5.

A burn rate is the share of bad events over the share that the objective allows: at 1 the error
budget lasts exactly the period. An alert fires while the rates of a long and of a short window both
exceed its limit; the short window ends it soon after the trouble ends.
"""

from datetime import timedelta
from typing import Literal, NamedTuple

Severity = Literal["page", "ticket"]
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")
"""The worst first."""


class Alert(NamedTuple):
    """One pair of windows.

    Attributes:
        severity: Whether a person is called now or finds a ticket tomorrow.
        budget: Share of the period's error budget that is spent by the end of the long window.
        long: Window that shows that it matters.
        short: Window that shows that it goes on.
    """

    severity: Severity
    budget: float
    long: timedelta
    short: timedelta

    def limit(self, period: timedelta) -> float:
        """The burn rate above which it fires.

        Args:
            period: Period of the objective.
        """
        return round(self.budget * (period / self.long), 9)


ALERTS = (
    Alert("page", 0.02, timedelta(hours=1), timedelta(minutes=5)),
    Alert("page", 0.05, timedelta(hours=6), timedelta(minutes=30)),
    Alert("ticket", 0.10, timedelta(days=1), timedelta(hours=2)),
    Alert("ticket", 0.10, timedelta(days=3), timedelta(hours=6)),
)


class Counts(NamedTuple):
    """Events of some time.

    Attributes:
        good: Those that were good.
        total: All of them.
    """

    good: int = 0
    total: int = 0

    def __sub__(self, earlier: "Counts") -> "Counts":
        """The events between two states of one counter."""
        return Counts(self.good - earlier.good, self.total - earlier.total)


def alerts_of(period: timedelta) -> list[Alert]:
    """The alerts of an objective's period.

    Pairs whose limit is below 1 are left out: a budget that is spent that slowly lasts the period.

    Args:
        period: Period of the objective.
    """
    return [alert for alert in ALERTS if alert.limit(period) >= 1]


def burn_rate(counts: Counts, objective: float) -> float | None:
    """How many times faster than allowed the error budget is spent; None without events.

    Args:
        counts: The events of a window.
        objective: Share of events that has to be good, above 0 and below 1.
    """
    if not counts.total:
        return None
    return (counts.total - counts.good) / counts.total / _allowed(objective)


def burns(long: Counts, short: Counts, *, limit: float, objective: float) -> bool:
    """Whether an alert fires: both windows spend the budget faster than its limit.

    Windows without events do not.

    Args:
        long: The events of the long window.
        short: The events of the short window.
        limit: The burn rate above which the alert fires.
        objective: Share of events that has to be good.
    """
    return all(
        counts.total > 0
        and (counts.total - counts.good) / counts.total > limit * _allowed(objective)
        for counts in (long, short)
    )


def budget_left(counts: Counts, objective: float) -> float | None:
    """Share of the error budget that is left: 1 is all, 0 none, below 0 the objective is missed.

    Args:
        counts: The events of the objective's period.
        objective: Share of events that has to be good.

    Returns:
        The share, or None without events.
    """
    rate = burn_rate(counts, objective)
    return None if rate is None else 1 - rate


def _allowed(objective: float) -> float:
    """Share of events that may be bad, without the noise of binary fractions."""
    return round(1 - objective, 12)


def in_words(length: timedelta) -> str:
    """A duration as durations are written, such as ``5m``, ``6h`` or ``3d``.

    Args:
        length: A duration of whole minutes.
    """
    minutes = length // timedelta(minutes=1)
    if minutes % 1440 == 0:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"
