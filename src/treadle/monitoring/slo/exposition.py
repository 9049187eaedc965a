"""Writes how objectives stand as metrics for Prometheus."""

from collections.abc import Callable, Iterable

from treadle.kernel.clock import duration
from treadle.kernel.escaping import prometheus
from treadle.monitoring.slo.model import SloStatus

GOOD, TOTAL = "treadle_slo_good_total", "treadle_slo_events_total"
BURN_RATE = "treadle_slo_burn_rate"
_GAUGES: dict[str, tuple[str, Callable[[SloStatus], float | None]]] = {
    GOOD: ("counter", lambda slo: slo.good_ever),
    TOTAL: ("counter", lambda slo: slo.total_ever),
    "treadle_slo_objective_ratio": ("gauge", lambda slo: slo.objective),
    "treadle_slo_period_seconds": ("gauge", lambda slo: duration(slo.over).total_seconds()),
    "treadle_slo_error_budget_left_ratio": ("gauge", lambda slo: slo.budget_left),
}


def exposition(slos: Iterable[SloStatus]) -> str:
    """Write objectives in Prometheus' text format, version 0.0.4.

    What is not known, for want of events, is left out.

    Args:
        slos: The objectives.
    """
    listed = list(slos)
    lines = []
    for metric, (kind, value_of) in _GAUGES.items():
        lines.append(f"# TYPE {metric} {kind}")
        values = [(slo, value_of(slo)) for slo in listed]
        lines += [f"{metric}{labels(slo)} {value}" for slo, value in values if value is not None]
    lines.append(f"# TYPE {BURN_RATE} gauge")
    for slo in listed:
        lines += [
            f"{BURN_RATE}{labels(slo, window=window)} {rate}"
            for window, rate in _rates(slo).items()
        ]
    return "\n".join(lines) + "\n"


def labels(slo: SloStatus, **more: str) -> str:
    """The labels that tell an objective's series apart, as Prometheus writes them.

    Args:
        slo: The objective.
        **more: Further labels.
    """
    named = {"project": slo.project, "endpoint": slo.endpoint, "slo": slo.slo, **more}
    return "{" + ",".join(f"{name}={prometheus(value)}" for name, value in named.items()) + "}"


def _rates(slo: SloStatus) -> dict[str, float]:
    """Length of a window → its burn rate."""
    rates: dict[str, float | None] = {}
    for pair in slo.burn_rates:
        rates |= {pair.long: pair.long_rate, pair.short: pair.short_rate}
    return {window: rate for window, rate in rates.items() if rate is not None}
