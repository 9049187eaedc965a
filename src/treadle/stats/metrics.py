"""Metrics of a model's answers against the truth.

Each takes the truth (rows,) and the scores and returns one number. Metrics of two classes take
truths of 0 and 1 and scores (rows,) that are probabilities of 1. Metrics of several classes take
positions of classes as truths and scores (rows, classes). Metrics of numbers take finite values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, did_you_mean
from treadle.stats.decisions import OF_COSTS, f1, precision, recall
from treadle.stats.families import EXAMPLES, family, member
from treadle.stats.ranking import average_precision

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


def resampled_roc_auc(truth: Array, score: Array) -> Callable[[Array], float]:
    """Prepare the ROC AUC of resampled rows: scores are sorted once for all resamples.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,).

    Returns:
        A function from numbers of rows (resampled,), each any number of times, to
        ``roc_auc(truth[rows], score[rows])``.
    """
    order = np.argsort(score, kind="stable")
    ascending, positive = score[order], truth[order] == 1
    firsts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]][: len(order)])

    def measure(rows: Array) -> float:
        times = np.bincount(rows, minlength=len(order))[order]
        ones, zeros = times * positive, times * ~positive
        if len(firsts) < len(order):
            ones, zeros = np.add.reduceat(ones, firsts), np.add.reduceat(zeros, firsts)
        pairs = int(ones.sum()) * int(zeros.sum())
        below = np.cumsum(zeros) - zeros
        return float((ones * (below + zeros / 2)).sum() / pairs) if pairs else float("nan")

    return measure


def log_loss(truth: Array, score: Array) -> float:
    """Mean negative log-likelihood; probabilities closer than 1e-15 to 0 or 1 are taken as 1e-15.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        score: Probabilities of 1 (rows,), or of each class (rows, classes).

    Returns:
        The loss in nats, 0 or more.
    """
    if score.ndim == 2:
        of_truth = score[np.arange(len(truth)), truth.astype(int)]
        return float(-np.mean(np.log(np.clip(of_truth, 1e-15, 1 - 1e-15))))
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
    """Share of rows whose predicted class is the true one.

    Predicted is 1 where the score is 0.5 or more; of several classes, the likeliest.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        score: Probabilities of 1 (rows,), or of each class (rows, classes).
    """
    if score.ndim == 2:
        return float(np.mean(predicted_class(score) == truth))
    return float(np.mean((score >= 0.5) == (truth == 1)))


def balanced_accuracy(truth: Array, score: Array) -> float:
    """Mean over the classes that occur of the share of their rows that is predicted right.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        score: Probabilities of 1 (rows,), or of each class (rows, classes).

    Returns:
        A number from 0 to 1, or NaN without rows.
    """
    hits, true, _ = _counts_by_class(truth, score)
    return float(np.mean(hits[true > 0] / true[true > 0])) if len(truth) else float("nan")


def macro_f1(truth: Array, score: Array) -> float:
    """Mean of the F1 of every class that occurs, in truth or by prediction.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        score: Probabilities of 1 (rows,), or of each class (rows, classes).

    Returns:
        A number from 0 to 1, or NaN without rows.
    """
    hits, true, predicted = _counts_by_class(truth, score)
    occurs = true + predicted > 0
    if not occurs.any():
        return float("nan")
    return float(np.mean(2 * hits[occurs] / (true + predicted)[occurs]))


def top_3_accuracy(truth: Array, score: Array) -> float:
    """Share of rows whose true class is among the three likeliest; later classes win ties.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        score: Probabilities of 1 (rows,), or of each class (rows, classes).
    """
    if score.ndim == 1:
        return 1.0 if len(truth) else float("nan")
    place = truth.astype(int)[:, None]
    own = np.take_along_axis(score, place, axis=1)
    before = (score > own) | ((score == own) & (np.arange(score.shape[1]) > place))
    return float(np.mean(before.sum(axis=1) < 3))


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
    for f in (
        roc_auc,
        average_precision,
        log_loss,
        brier,
        accuracy,
        balanced_accuracy,
        macro_f1,
        top_3_accuracy,
        precision,
        recall,
        f1,
        mae,
        rmse,
        r2,
    )
}
"""Every metric by its name, but for those of families, such as ``precision_at_2%``."""

_LOWER_IS_BETTER = {"log_loss", "brier", "mae", "rmse", OF_COSTS}
OF_NUMBERS = {"mae", "rmse", "r2"}
"""The metrics whose truth is any number; the others' truth is a class."""
OF_SEVERAL_CLASSES = {"log_loss", "accuracy", "balanced_accuracy", "macro_f1", "top_3_accuracy"}
"""The metrics that scores of several classes (rows, classes) can be measured by."""


def measures(name: str, score: Array) -> bool:
    """Whether a metric is one of scores of this shape.

    Args:
        name: Any name.
        score: Scores (rows,) or (rows, classes).
    """
    return is_metric(name) if score.ndim == 1 else name in OF_SEVERAL_CLASSES


def is_metric(name: str) -> bool:
    """Whether a metric of labelled rows has this name.

    Args:
        name: Any name.
    """
    return name in METRICS or member(name) is not None


def metric(name: str) -> Metric:
    """Look up a metric by its name.

    Args:
        name: The metric's name, such as ``roc_auc`` or ``precision_at_2%``.

    Raises:
        Invalid: There is no metric of that name.
    """
    found = METRICS.get(name) or member(name)
    if found is None:
        raise Invalid(f"There is no metric '{name}'.{did_you_mean(name, (*METRICS, *EXAMPLES))}")
    return found


def lower_is_better(name: str) -> bool:
    """Whether a metric is one to lower.

    Args:
        name: The metric's name.
    """
    return family(name) in _LOWER_IS_BETTER


def bounded_loss(name: str, truth: Array, score: Array) -> NDArray[np.float64]:
    """Loss of each row on a scale from 0 to 1, for methods that need bounded values.

    For metrics of classes it is the squared error of the probability, and of several classes half
    the sum of it over the classes. For metrics of numbers it is the absolute error as a share of
    itself and the truth's size.

    Args:
        name: The metric that the losses stand for, a name in ``METRICS``.
        truth: Truths (rows,).
        score: Scores (rows,) or (rows, classes).

    Returns:
        Losses (rows,).
    """
    if score.ndim == 2:
        error = score - (np.arange(score.shape[1]) == truth[:, None])
        return np.asarray(np.minimum(np.sum(error**2, axis=1) / 2, 1.0))
    absolute_error = np.abs(score - truth)
    if name in OF_NUMBERS:
        return np.asarray(absolute_error / (absolute_error + np.abs(truth) + 1e-9))
    return np.asarray(np.minimum(absolute_error, 1.0) ** 2)


def predicted_class(score: Array) -> NDArray[np.int64]:
    """The predicted class of each row: its position, of two classes 0 or 1.

    Args:
        score: Probabilities of 1 (rows,), or of each class (rows, classes).
    """
    if score.ndim == 1:
        return (score >= 0.5).astype(np.int64)
    return np.asarray(score.argmax(axis=1), dtype=np.int64)


def _counts_by_class(truth: Array, score: Array) -> tuple[Array, Array, Array]:
    """Of each class: rows predicted right, rows of it, rows predicted to be of it."""
    classes = score.shape[1] if score.ndim == 2 else 2
    predicted, true = predicted_class(score), np.asarray(truth)
    true = true.astype(np.int64) if score.ndim == 2 else (true == 1).astype(np.int64)
    hits = np.bincount(true[predicted == true], minlength=classes)
    return hits, np.bincount(true, minlength=classes), np.bincount(predicted, minlength=classes)


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
