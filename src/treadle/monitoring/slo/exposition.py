"""Writes how objectives stand as metrics for Prometheus."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from treadle.kernel.clock import duration
from treadle.kernel.exposition import Family, exposed, labelled
from treadle.monitoring.slo.model import SloStatus

GOOD, TOTAL = "treadle_slo_good_total", "treadle_slo_events_total"
BURN_RATE = "treadle_slo_burn_rate"
_METRICS: list[
    tuple[str, Literal["counter", "gauge"], str, Callable[[SloStatus], float | None]]
] = [
    (GOOD, "counter", "Good events of an objective.", lambda slo: slo.good_ever),
    (TOTAL, "counter", "All events of an objective.", lambda slo: slo.total_ever),
    (
        "treadle_slo_objective_ratio",
        "gauge",
        "The share of events that should be good.",
        lambda slo: slo.objective,
    ),
    (
        "treadle_slo_period_seconds",
        "gauge",
        "The time over which an objective holds.",
        lambda slo: duration(slo.over).total_seconds(),
    ),
    (
        "treadle_slo_error_budget_left_ratio",
        "gauge",
        "The share of the error budget that is left; negative where it is overspent.",
        lambda slo: slo.budget_left,
    ),
]


def families(slos: Iterable[SloStatus]) -> Iterator[Family]:
    """How objectives stand, as metrics. What is not known, for want of events, is left out.

    Args:
        slos: The objectives.
    """
    listed = list(slos)
    for name, kind, help, value_of in _METRICS:
        family = Family(name, kind, help)
        for slo in listed:
            if (value := value_of(slo)) is not None:
                family.add(value, **_named(slo))
        yield family
    rates = Family(BURN_RATE, "gauge", "How many times faster than allowed the budget is spent.")
    for slo in listed:
        for window, rate in _rates(slo).items():
            rates.add(rate, **_named(slo), window=window)
    yield rates


def exposition(slos: Iterable[SloStatus]) -> str:
    """Write objectives in Prometheus' text format, version 0.0.4.

    Args:
        slos: The objectives.
    """
    return exposed(families(slos))


def labels(slo: SloStatus, **more: str) -> str:
    """The labels that tell an objective's series apart, as Prometheus writes them.

    Args:
        slo: The objective.
        **more: Further labels.
    """
    return labelled(**_named(slo), **more)


def _named(slo: SloStatus) -> dict[str, str]:
    return {"project": slo.project, "endpoint": slo.endpoint, "slo": slo.slo}


def _rates(slo: SloStatus) -> dict[str, float]:
    """Length of a window → its burn rate."""
    rates: dict[str, float | None] = {}
    for pair in slo.burn_rates:
        rates |= {pair.long: pair.long_rate, pair.short: pair.short_rate}
    return {window: rate for window, rate in rates.items() if rate is not None}
