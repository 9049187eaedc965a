"""Intervals of expected metrics, and how labels correct them as they come."""

from typing import NamedTuple

import numpy as np

from treadle.stats.expected import COUNTS, Expectation, Expected
from treadle.stats.intervals import Estimate
from treadle.stats.metrics import Array
from treadle.stats.student import t_quantile

MIN_LABELS = 10
"""Labels that a correction takes at least."""
UNBOUNDED = frozenset({"log_loss", "mae", "mse", "rmse", "mape", "rmsle", "brier"}) | COUNTS
"""The metrics that may be above 1."""


class Corrected(NamedTuple):
    """An expected metric that was corrected by labels.

    Attributes:
        estimate: The corrected value with its 95 % interval.
        gap: What was added: realised less expected, on the labelled rows.
        labels: How many labels it used.
    """

    estimate: Estimate
    gap: float
    labels: int


def interval(
    name: str, expected: Expected, rows: Expectation, calibrated_on: int | None = None
) -> Estimate:
    """The 95 % interval of an expected metric by the delta method.

    se² = Σ E[influence²] / n², over the rows and the class that each may have: what the realised
    metric of other n rows like these would vary by. A calibration that rests on N rows is uncertain
    itself, which multiplies it by √(1 + n/N).

    Args:
        name: The metric's name.
        expected: The metric's expected value.
        rows: The rows that it is expected of.
        calibrated_on: Rows that the probabilities were calibrated on, N; None for exact ones.
    """
    if not np.isfinite(expected.value):
        return Estimate(expected.value, expected.value, expected.value)
    count = len(rows)
    spread = float(np.sum(rows.chances * expected.influence**2)) / count**2
    error = (spread * (1 + count / calibrated_on if calibrated_on else 1)) ** 0.5
    return bounded(name, expected.value, 1.959963984540054 * error)


def corrected(name: str, expected: Expected, rows: Expectation, truth: Array) -> Corrected | None:
    """Correct an expected metric by the rows whose labels have come.

    value = expected(all n rows) + [realised - expected](m labelled rows), the difference estimator
    of survey sampling (Särndal, Swensson and Wretman 1992, section 6.3; "prediction-powered", for
    means, in Angelopoulos et al. 2023). It needs no assumption on drift, but that labels come for
    rows drawn at random. With r the influence of the true class less the expected influence,
    se² = var(r)/m + var(expected influence)/n, and Student's t with m - 1 degrees of freedom.

    Args:
        name: The metric's name.
        expected: The metric's expected value over all rows.
        rows: All rows.
        truth: Position of each row's class (rows,); NaN where there is no label yet.

    Returns:
        None with fewer than 10 labels, or where the labelled rows do not show the metric.
    """
    labelled = np.flatnonzero(np.isfinite(truth))
    if len(labelled) < MIN_LABELS:
        return None
    part, classes = rows.part(labelled), truth[labelled].astype(np.int64)
    gap = part.known(classes).of(name).value - part.of(name).value
    if name in COUNTS:
        gap *= len(rows) / len(labelled)
    if not np.isfinite(gap) or not np.isfinite(expected.value):
        return None
    on_average = np.sum(rows.chances * expected.influence, axis=1)
    surprise = expected.influence[labelled, classes] - on_average[labelled]
    squared = float(np.var(surprise, ddof=1)) / len(labelled)
    squared += float(np.var(on_average)) / len(rows)
    half = t_quantile(0.975, len(labelled) - 1) * squared**0.5
    return Corrected(bounded(name, expected.value + gap, half), gap, len(labelled))


def bounded(name: str, value: float, half: float) -> Estimate:
    """A value with its interval, kept where the metric can be.

    Args:
        name: The metric's name.
        value: Its value.
        half: Half the interval's width.
    """
    most = float("inf") if name in UNBOUNDED else 1.0
    return Estimate(min(max(value, 0.0), most), max(value - half, 0.0), min(value + half, most))
