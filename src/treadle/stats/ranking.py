"""Metrics of an order: how far up the positives stand when rows are sorted by their scores.

Each takes truths of 0 and 1 (rows,) and scores (rows,) of which only the order matters.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

AT_CAPACITY = ("precision_at_K", "recall_at_K")
"""Families of metrics; K is a number of rows, such as 50, or a share of them, such as 2%."""
EXAMPLES = ("precision_at_2%", "recall_at_2%")
"""One member of each family."""
_AT = re.compile(r"(precision|recall)_at_(\d{1,9}(?:\.\d{1,6})?%|\d{1,9})")


def average_precision(truth: Array, score: Array) -> float:
    """Mean of the precision at each positive, from the highest score down; ties count together.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,).

    Returns:
        A number from 0 to 1, or NaN without a positive.
    """
    if not (truth == 1).any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    descending, hits = score[order], np.cumsum(truth[order] == 1)
    last_of_ties = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
    found = hits[last_of_ties]
    precisions = found / (last_of_ties + 1)
    return float(np.sum(np.diff(np.r_[0, found]) * precisions) / hits[-1])


def precision_at(truth: Array, score: Array, *, capacity: str) -> float:
    """Share of positives among the rows with the highest scores.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,).
        capacity: How many rows can be looked at: a number, or a share such as ``2%``.

    Returns:
        A number from 0 to 1, or NaN without rows.
    """
    rows = rows_within(capacity, len(truth))
    return _hits_among(truth, score, rows) / rows if rows else float("nan")


def recall_at(truth: Array, score: Array, *, capacity: str) -> float:
    """Share of all positives that are among the rows with the highest scores.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,).
        capacity: How many rows can be looked at: a number, or a share such as ``2%``.

    Returns:
        A number from 0 to 1, or NaN without a positive.
    """
    positives = int((truth == 1).sum())
    if not positives:
        return float("nan")
    return _hits_among(truth, score, rows_within(capacity, len(truth))) / positives


def rows_within(capacity: str, rows: int) -> int:
    """How many of some rows can be looked at: one at least, where there is any.

    Args:
        capacity: A number, or a share such as ``2%``.
        rows: How many rows there are.
    """
    if capacity.endswith("%"):
        wanted = int(float(capacity[:-1]) / 100 * rows + 1e-9)
    else:
        wanted = int(capacity)
    return min(max(wanted, 1), rows)


def at_capacity(name: str) -> Callable[[Array, Array], float] | None:
    """The metric that a name such as ``precision_at_2%`` or ``recall_at_50`` stands for.

    Args:
        name: Any name.

    Returns:
        None for another name, for no rows, and for more than all of them.
    """
    named = _AT.fullmatch(name)
    if named is None or not float(named[2].rstrip("%")) > 0:
        return None
    if named[2].endswith("%") and float(named[2][:-1]) > 100:
        return None
    return partial(precision_at if named[1] == "precision" else recall_at, capacity=named[2])


def _hits_among(truth: Array, score: Array, rows: int) -> float:
    """Positives among the highest scores; of rows with one score, the share that fits in."""
    limit = np.partition(score, len(score) - rows)[len(score) - rows]
    above, tied = score > limit, score == limit
    places_left = rows - int(above.sum())
    hits = float((truth[above] == 1).sum())
    return hits + places_left * float((truth[tied] == 1).mean())
