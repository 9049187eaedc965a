"""Metrics of a model's answers against the truth.

Each takes the truth (rows,) and the scores (rows,) and returns one number. Metrics of classes take
truths of 0 and 1 and scores that are probabilities of 1; metrics of numbers take any finite values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, did_you_mean

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def roc_auc(truth: Array, score: Array) -> float:
    """Area under the ROC curve by the statistic of Mann and Whitney (1947); ties count half.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,); only their order matters.

    Returns:
        A number from 0 to 1, or NaN when the rows are all of one class.
    """
    positive = truth == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    rank_sum = average_ranks(score)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(truth: Array, score: Array) -> float:
    """Mean negative log-likelihood; probabilities closer than 1e-15 to 0 or 1 are taken as 1e-15.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).

    Returns:
        The loss in nats, 0 or more.
    """
    probability = np.clip(score, 1e-15, 1 - 1e-15)
    return float(-np.mean(truth * np.log(probability) + (1 - truth) * np.log(1 - probability)))


def brier(truth: Array, score: Array) -> float:
    """Mean squared error of a probability (Brier 1950).

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
    """
    return float(np.mean((score - truth) ** 2))


def accuracy(truth: Array, score: Array) -> float:
    """Share of rows whose predicted class (1 where the score is 0.5 or more) is the true one.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
    """
    return float(np.mean((score >= 0.5) == (truth == 1)))


def precision(truth: Array, score: Array) -> float:
    """Share of predicted positives (score of 0.5 or more) that are true.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).

    Returns:
        A number from 0 to 1, or NaN when no row is predicted positive.
    """
    predicted = score >= 0.5
    return float(truth[predicted].mean()) if predicted.any() else float("nan")


def recall(truth: Array, score: Array) -> float:
    """Share of true positives that are predicted positive (score of 0.5 or more).

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).

    Returns:
        A number from 0 to 1, or NaN when no row is truly positive.
    """
    positive = truth == 1
    return float((score[positive] >= 0.5).mean()) if positive.any() else float("nan")


def f1(truth: Array, score: Array) -> float:
    """Harmonic mean of precision and recall at the threshold 0.5 (van Rijsbergen 1979).

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).

    Returns:
        A number from 0 to 1, or NaN when no row is positive, in truth or by prediction.
    """
    hits = float(((score >= 0.5) & (truth == 1)).sum())
    predicted_and_true = float((score >= 0.5).sum() + (truth == 1).sum())
    return 2 * hits / predicted_and_true if predicted_and_true else float("nan")


def mae(truth: Array, score: Array) -> float:
    """Mean absolute error, in the unit of the truth.

    Args:
        truth: Numbers (rows,).
        score: Predicted numbers (rows,).
    """
    return float(np.mean(np.abs(truth - score)))


def rmse(truth: Array, score: Array) -> float:
    """Root of the mean squared error, in the unit of the truth.

    Args:
        truth: Numbers (rows,).
        score: Predicted numbers (rows,).
    """
    return float(np.sqrt(np.mean((truth - score) ** 2)))


def r2(truth: Array, score: Array) -> float:
    """Coefficient of determination: the share of the truth's variance that the scores explain.

    Args:
        truth: Numbers (rows,).
        score: Predicted numbers (rows,).

    Returns:
        1 at most, or NaN when the truth does not vary.
    """
    if np.ptp(truth) == 0:
        return float("nan")
    return 1 - float(np.sum((truth - score) ** 2)) / float(np.sum((truth - truth.mean()) ** 2))


METRICS: dict[str, Metric] = {
    f.__name__: f
    for f in (roc_auc, log_loss, brier, accuracy, precision, recall, f1, mae, rmse, r2)
}
"""Every metric by its name."""

LOWER_IS_BETTER = {"log_loss", "brier", "mae", "rmse"}
OF_NUMBERS = {"mae", "rmse", "r2"}
"""The metrics whose truth is any number; the others' truth is a class."""


def metric(name: str) -> Metric:
    """Look up a metric by its name.

    Args:
        name: A name in ``METRICS``, such as ``roc_auc``.

    Raises:
        Invalid: There is no metric of that name.
    """
    if name not in METRICS:
        raise Invalid(f"There is no metric '{name}'.{did_you_mean(name, METRICS)}")
    return METRICS[name]


def bounded_loss(name: str, truth: Array, score: Array) -> NDArray[np.float64]:
    """Loss of each row on a scale from 0 to 1, for methods that need bounded values.

    For metrics of classes it is the squared error of the probability. For metrics of numbers it is
    the absolute error as a share of itself and the truth's size.

    Args:
        name: The metric that the losses stand for, a name in ``METRICS``.
        truth: Truths (rows,).
        score: Scores (rows,).

    Returns:
        Losses (rows,).
    """
    absolute_error = np.abs(score - truth)
    if name in OF_NUMBERS:
        return np.asarray(absolute_error / (absolute_error + np.abs(truth) + 1e-9))
    return np.asarray(np.minimum(absolute_error, 1.0) ** 2)


def average_ranks(values: Array) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of their ranks.

    Args:
        values: Numbers (rows,).

    Returns:
        Ranks (rows,).
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sizes = np.diff(np.r_[starts, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks
