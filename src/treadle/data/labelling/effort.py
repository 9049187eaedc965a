"""How long more labels take, and what they cost."""

from collections.abc import Iterable

import numpy as np

from treadle.data.labelling.model import Effort, Interval, interval
from treadle.data.labelling.sets import LabelRow
from treadle.kernel.errors import Invalid
from treadle.stats.intervals import RESAMPLES, Estimate
from treadle.stats.metrics import Array

_DRAWN_ONE_BY_ONE = 10_000


def estimate_effort(rows: Iterable[LabelRow], more: int, rate: float | None = None) -> Effort:
    """Estimate the time of more labels from the time of those that are there.

    The interval is that of a bootstrap (Efron 1979) which draws the times that are there anew, and
    from them those of the labels to come: it widens with few labels that are timed, and with few
    that are wanted. It takes labels to come for ones like those that are there.

    Args:
        rows: Rows of a label set; those without ``seconds`` do not count.
        more: How many labels are wanted, 1 or more.
        rate: Price of an hour; None gives no cost.

    Raises:
        Invalid: Fewer than two labels have a time, or a number is out of its range.
    """
    if more < 1:
        raise Invalid(f"{more} labels take no time. Ask for 1 or more.")
    if rate is not None and not 0 <= rate < float("inf"):
        raise Invalid(f"A rate of {rate:g} an hour is no price.")
    seconds = np.array([row.seconds for row in rows if row.seconds is not None])
    if len(seconds) < 2:
        raise Invalid(
            f"{len(seconds)} labels have a time, and an estimate needs two. "
            "Give the set a column 'seconds': the time that the labeller took."
        )
    hours = _hours(seconds, more)
    cost = None
    if rate is not None and hours.value is not None:
        low, high = (limit and limit * rate for limit in (hours.low, hours.high))
        cost = Interval(value=hours.value * rate, low=low, high=high)
    return Effort(
        more=more,
        timed=len(seconds),
        mean_seconds=float(seconds.mean()),
        median_seconds=float(np.median(seconds)),
        hours=hours,
        rate=rate,
        cost=cost,
    )


def _hours(seconds: Array, more: int) -> Interval:
    random = np.random.default_rng(0)
    totals = [
        _total(random, seconds[random.integers(0, len(seconds), len(seconds))], more)
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(totals, [0.025, 0.975]) / 3600
    return interval(Estimate(more * float(seconds.mean()) / 3600, float(low), float(high)))


def _total(random: np.random.Generator, seconds: Array, more: int) -> float:
    """Time of labels to come, drawn one by one; of very many as from a normal distribution."""
    if more <= _DRAWN_ONE_BY_ONE:
        return float(seconds[random.integers(0, len(seconds), more)].sum())
    spread = float(seconds.std()) * more**0.5
    return max(float(random.normal(more * float(seconds.mean()), spread)), 0.0)
