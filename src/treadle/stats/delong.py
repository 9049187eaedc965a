"""The difference of two areas under ROC curves on the same rows, by DeLong (1988)."""

from statistics import NormalDist

import numpy as np

from treadle.stats.intervals import Estimate
from treadle.stats.metrics import Array, average_ranks

FEWEST = 10
"""Rows of each class from which the normal approximation is used."""


def roc_auc_difference(truth: Array, score: Array, other: Array) -> Estimate:
    """Measure how much larger the ROC AUC of ``score`` is than that of ``other``.

    The 95 % interval is DeLong's for paired curves, computed from mid-ranks in O(n log n) (Sun and
    Xu 2014).

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Finite scores (rows,) of one model.
        other: Finite scores (rows,) of another model for the same rows.

    Returns:
        The difference with its interval; NaN limits with fewer than ten rows of a class.
    """
    placements = [_placements(truth, each) for each in (score, other)]
    areas = [float(of_ones.mean()) if len(of_ones) else float("nan") for of_ones, _ in placements]
    difference = areas[0] - areas[1]
    ones, zeros = (placements[0][side] - placements[1][side] for side in (0, 1))
    if min(len(ones), len(zeros)) < FEWEST:
        return Estimate(difference, float("nan"), float("nan"))
    variance = float(ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros))
    half = NormalDist().inv_cdf(0.975) * variance**0.5
    return Estimate(difference, difference - half, difference + half)


def _placements(truth: Array, score: Array) -> tuple[Array, Array]:
    """How large a share of the other class each row stands on the right side of.

    Returns:
        Of the ones the share of zeros below, of the zeros the share of ones above; ties half.
    """
    positive = truth == 1
    ones, zeros = score[positive], score[~positive]
    if not len(ones) or not len(zeros):
        return ones[:0], zeros[:0]
    ranks = average_ranks(np.concatenate([ones, zeros]))
    below = (ranks[: len(ones)] - average_ranks(ones)) / len(zeros)
    above = 1 - (ranks[len(ones) :] - average_ranks(zeros)) / len(ones)
    return below, above
