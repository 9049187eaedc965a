"""Intervals around a metric: the percentile bootstrap; around a share: Wilson's interval."""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from treadle.stats.metrics import Array, lower_is_better, metric, resampled_roc_auc

RESAMPLES = 200


class Estimate(NamedTuple):
    """A measured value and the limits of its 95 % interval, all NaN where nothing can be computed.

    Attributes:
        value: The value on the sample itself.
        low: The lower limit: of a bootstrap the 2.5 % quantile of its distribution.
        high: The upper limit: of a bootstrap the 97.5 % quantile of its distribution.
    """

    value: float
    low: float
    high: float


def estimate(name: str, truth: Array, score: Array, *, seed: int = 0) -> Estimate:
    """Measure a metric with its percentile bootstrap interval (Efron 1979), from 200 resamples.

    Args:
        name: The metric, a name in ``METRICS``.
        truth: Truths (rows,).
        score: Scores (rows,).
        seed: Seed of the resampling; the same seed gives the same interval.

    Raises:
        Invalid: There is no metric of that name.
    """
    measure, resampled = metric(name), _resampled(name, truth, score)
    draws = [resampled(rows) for rows in _resamples(len(truth), seed)]
    return Estimate(measure(truth, score), *_percentile_interval(draws))


def difference(name: str, truth: Array, score: Array, other: Array, *, seed: int = 0) -> Estimate:
    """Measure how much better ``score`` is than ``other`` on the same rows, by a paired bootstrap.

    Rows are resampled with both scores, so what the two have in common cancels (Efron 1979).

    Args:
        name: The metric, a name in ``METRICS``.
        truth: Truths (rows,).
        score: Scores (rows,) of the model in question.
        other: Scores (rows,) of the model that it is compared with.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The difference in the metric's unit, positive where ``score`` is better, whether the metric
        is one to raise or one to lower.

    Raises:
        Invalid: There is no metric of that name.
    """
    measure, sign = metric(name), -1.0 if lower_is_better(name) else 1.0
    own, others = _resampled(name, truth, score), _resampled(name, truth, other)
    draws = [sign * (own(rows) - others(rows)) for rows in _resamples(len(truth), seed)]
    value = sign * (measure(truth, score) - measure(truth, other))
    return Estimate(value, *_percentile_interval(draws))


def share(hits: int, of: int) -> Estimate:
    """Measure a share with its 95 % interval by Wilson (1927), which holds for few as for many.

    Args:
        hits: How many were counted.
        of: Out of how many.

    Returns:
        The share and its limits, all NaN where there are none.
    """
    if not of:
        return Estimate(float("nan"), float("nan"), float("nan"))
    z, value = NormalDist().inv_cdf(0.975), hits / of
    centre = (value + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * (value * (1 - value) / of + z**2 / (4 * of**2)) ** 0.5
    return Estimate(value, max(centre - half, 0.0), min(centre + half, 1.0))


def one_sided_limits(measured: Estimate, alpha: float) -> tuple[float, float]:
    """Stretch a 95 % interval to one-sided limits at another level, as if it were a normal's.

    Each half of the interval is scaled by the ratio of the normal quantiles, so an interval that is
    not symmetric stays so.

    Args:
        measured: A value with its 95 % interval.
        alpha: Probability that one of the limits may be wrong with, between 0 and 1.

    Returns:
        The lower and the upper limit.
    """
    stretch = NormalDist().inv_cdf(1 - alpha) / NormalDist().inv_cdf(0.975)
    low = measured.value - stretch * (measured.value - measured.low)
    high = measured.value + stretch * (measured.high - measured.value)
    return low, high


def _resampled(name: str, truth: Array, score: Array) -> Callable[[Array], float]:
    """The metric of resampled rows, by their numbers."""
    if name == "roc_auc" and len(truth) and not np.isnan(score).any():
        return resampled_roc_auc(truth, score)
    measure = metric(name)
    return lambda rows: measure(truth[rows], score[rows])


def _resamples(rows: int, seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.integers(0, rows, rows) for _ in range(RESAMPLES)]


def _percentile_interval(draws: list[float]) -> tuple[float, float]:
    finite = [draw for draw in draws if np.isfinite(draw)]
    if not finite:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)
