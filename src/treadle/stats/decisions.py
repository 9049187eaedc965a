"""Metrics of decisions: a row is called positive where its score reaches a threshold.

Each takes truths of 0 and 1 (rows,) and scores (rows,) that are probabilities of 1.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OF_COSTS = "cost_fpA_fnB"
AT_THRESHOLD = ("precision_above_T", "recall_above_T", "f1_above_T", OF_COSTS)
"""Families of metrics; T is a threshold such as 0.2, A and B are what a wrong decision costs."""
EXAMPLES = ("precision_above_0.2", "recall_above_0.2", "f1_above_0.2", "cost_fp1_fn20")
"""One member of each family."""
_NUMBER = r"\d{1,9}(?:\.\d{1,6})?"
_ABOVE = re.compile(rf"(precision|recall|f1)_above_({_NUMBER})")
_COST = re.compile(rf"cost_fp({_NUMBER})_fn({_NUMBER})")


def precision(truth: Array, score: Array, *, threshold: float = 0.5) -> float:
    """Share of predicted positives that are true.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
        threshold: The score from which a row is predicted positive.

    Returns:
        A number from 0 to 1, or NaN when no row is predicted positive.
    """
    predicted = score >= threshold
    return float(truth[predicted].mean()) if predicted.any() else float("nan")


def recall(truth: Array, score: Array, *, threshold: float = 0.5) -> float:
    """Share of true positives that are predicted positive.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
        threshold: The score from which a row is predicted positive.

    Returns:
        A number from 0 to 1, or NaN when no row is truly positive.
    """
    positive = truth == 1
    return float((score[positive] >= threshold).mean()) if positive.any() else float("nan")


def f1(truth: Array, score: Array, *, threshold: float = 0.5) -> float:
    """Harmonic mean of precision and recall at a threshold (van Rijsbergen 1979).

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
        threshold: The score from which a row is predicted positive.

    Returns:
        A number from 0 to 1, or NaN when no row is positive, in truth or by prediction.
    """
    hits = float(((score >= threshold) & (truth == 1)).sum())
    predicted_and_true = float((score >= threshold).sum() + (truth == 1).sum())
    return 2 * hits / predicted_and_true if predicted_and_true else float("nan")


def cost(truth: Array, score: Array, *, false_positive: float, false_negative: float) -> float:
    """Mean cost of a row where every row is decided in the way that is expected to cost less.

    A row with probability p of being positive costs ``(1 - p) * false_positive`` on average when it
    is called positive, and ``p * false_negative`` when it is not, so it is called positive from
    ``cheapest_threshold`` on (Elkan 2001). A model whose probabilities are not calibrated decides
    wrongly by this, and its cost shows it.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Probabilities of 1 (rows,).
        false_positive: Cost of calling a negative row positive.
        false_negative: Cost of calling a positive row negative.

    Returns:
        A number from 0 to the larger cost, or NaN without rows.
    """
    if not len(truth):
        return float("nan")
    called = score >= cheapest_threshold(false_positive, false_negative)
    wrongly_called, missed = called & (truth != 1), ~called & (truth == 1)
    return float(np.mean(false_positive * wrongly_called + false_negative * missed))


def cheapest_threshold(false_positive: float, false_negative: float) -> float:
    """The probability from which calling a row positive costs less than not calling it so.

    Args:
        false_positive: Cost of calling a negative row positive.
        false_negative: Cost of calling a positive row negative.

    Returns:
        A number from 0 to 1.
    """
    return false_positive / (false_positive + false_negative)


def at_threshold(name: str) -> Callable[[Array, Array], float] | None:
    """The metric that a name such as ``recall_above_0.2`` or ``cost_fp1_fn20`` stands for.

    Args:
        name: Any name.

    Returns:
        None for another name, for a threshold that is not between 0 and 1, and for a decision that
        costs nothing when it is wrong.
    """
    if named := _ABOVE.fullmatch(name):
        metric = {"precision": precision, "recall": recall, "f1": f1}[named[1]]
        threshold = float(named[2])
        return partial(metric, threshold=threshold) if 0 < threshold < 1 else None
    if named := _COST.fullmatch(name):
        false_positive, false_negative = float(named[1]), float(named[2])
        wrong = partial(cost, false_positive=false_positive, false_negative=false_negative)
        return wrong if min(false_positive, false_negative) > 0 else None
    return None
