"""Metrics in plain numpy: each takes truth (rows,) and score (rows,) and gives one number."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, did_you_mean

Array = NDArray[Any]
RESAMPLES = 200


def roc_auc(truth: Array, score: Array) -> float:
    """Area under the ROC curve by the Mann-Whitney statistic; ties count half. NaN when only one class is there."""
    positive = truth == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    return float(
        (_ranks(score)[positive].sum() - n_positive * (n_positive + 1) / 2)
        / (n_positive * n_negative)
    )


def log_loss(truth: Array, score: Array) -> float:
    """Mean negative log-likelihood, in nats."""
    p = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p)))


def brier(truth: Array, score: Array) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((score - truth) ** 2))


def accuracy(truth: Array, score: Array) -> float:
    return float(np.mean((score >= 0.5) == (truth == 1)))


def precision(truth: Array, score: Array) -> float:
    """Share of predicted positives (score ≥ 0.5) that are true. NaN when none is predicted."""
    chosen = score >= 0.5
    return float(truth[chosen].mean()) if chosen.any() else float("nan")


def recall(truth: Array, score: Array) -> float:
    """Share of true positives that are predicted (score ≥ 0.5). NaN when there is none."""
    positive = truth == 1
    return float((score[positive] >= 0.5).mean()) if positive.any() else float("nan")


def f1(truth: Array, score: Array) -> float:
    hits = float(((score >= 0.5) & (truth == 1)).sum())
    named = float((score >= 0.5).sum() + (truth == 1).sum())
    return 2 * hits / named if named else float("nan")


def mae(truth: Array, score: Array) -> float:
    return float(np.mean(np.abs(truth - score)))


def rmse(truth: Array, score: Array) -> float:
    return float(np.sqrt(np.mean((truth - score) ** 2)))


def r2(truth: Array, score: Array) -> float:
    """Coefficient of determination. NaN when the truth does not vary."""
    if np.ptp(truth) == 0:
        return float("nan")
    return 1 - float(np.sum((truth - score) ** 2)) / float(np.sum((truth - truth.mean()) ** 2))


Metric = Callable[[Array, Array], float]
METRICS: dict[str, Metric] = {
    f.__name__: f
    for f in (roc_auc, log_loss, brier, accuracy, precision, recall, f1, mae, rmse, r2)
}
LOWER_IS_BETTER = {"log_loss", "brier", "mae", "rmse"}


class Estimate(NamedTuple):
    """A metric's value and its 95 % interval."""

    value: float
    low: float
    high: float


def metric(name: str) -> Metric:
    if name not in METRICS:
        raise Invalid(f"There is no metric '{name}'.{did_you_mean(name, METRICS)}")
    return METRICS[name]


def estimate(name: str, truth: Array, score: Array, *, seed: int = 0) -> Estimate:
    """A metric with its percentile bootstrap interval (Efron 1979; 200 resamples)."""
    measure = metric(name)
    draws = [measure(truth[rows], score[rows]) for rows in _resamples(len(truth), seed)]
    return Estimate(measure(truth, score), *_interval(draws))


def difference(name: str, truth: Array, score: Array, other: Array, *, seed: int = 0) -> Estimate:
    """How much better ``score`` is than ``other`` on the same rows (positive is better), by the paired bootstrap."""
    measure, sign = metric(name), -1.0 if name in LOWER_IS_BETTER else 1.0
    draws = [
        sign * (measure(truth[rows], score[rows]) - measure(truth[rows], other[rows]))
        for rows in _resamples(len(truth), seed)
    ]
    return Estimate(sign * (measure(truth, score) - measure(truth, other)), *_interval(draws))


def _resamples(rows: int, seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.integers(0, rows, rows) for _ in range(RESAMPLES)]


def _interval(draws: list[float]) -> tuple[float, float]:
    finite = [draw for draw in draws if np.isfinite(draw)]
    if not finite:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _ranks(values: Array) -> Array:
    """Ranks from 1, ties sharing their mean."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks
