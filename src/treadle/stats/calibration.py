"""Calibration: probabilities that occur as often as they say, by isotonic regression."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.stats.metrics import Array, roc_auc

BINS = 10
SPLITS = 10
TEST_SHARE = 0.1
SEED = 42
SEPARATED = 0.999
"""An area under the ROC curve above which calibration has nothing to gain."""
MOST_ROWS = 100_000
"""Rows that decide whether calibration helps; twice as many at most."""
Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """A non-decreasing piecewise linear function; constant beyond its first and last knot.

    Attributes:
        scores: Scores (knots,), ascending.
        probabilities: Its values at them (knots,), non-decreasing.
    """

    scores: Floats
    probabilities: Floats

    def at(self, scores: Array) -> Floats:
        """Its values.

        Args:
            scores: Scores (rows,).

        Returns:
            Probabilities (rows,); NaN where a score is NaN.
        """
        return np.interp(scores, self.scores, self.probabilities)


def isotonic_curve(truth: Array, score: Array) -> Curve:
    """Fit the non-decreasing function of the score with the least squared error (Barlow 1972).

    Rows of one score count as one point. Between points it is linear, as in scikit-learn's
    ``IsotonicRegression(out_of_bounds="clip")``.

    Args:
        truth: Classes (rows,), 0 or 1; one row at least.
        score: Scores (rows,), finite.
    """
    order = np.argsort(score, kind="stable")
    return _curve(np.asarray(truth, dtype=np.float64)[order], np.asarray(score, float)[order])


def useful_curve(truth: Array, score: Array) -> Curve | None:
    """The isotonic curve where it makes unseen rows better calibrated, as NannyML decides it.

    The curve is fitted on nine tenths of the rows, ten times, drawn by class; it is useful when the
    expected calibration error over the tenths that were left out, taken together, is smaller
    with it than without. Of 200,000 rows or more, every k-th takes part in that decision.

    Args:
        truth: Classes (rows,), 0 or 1.
        score: Scores (rows,), finite, from 0 to 1.

    Returns:
        The curve of all rows. None where it does not help, where there are fewer than 20 rows or
        fewer than two of a class, and where the scores separate the classes (AUC above 0.999).
    """
    positives = int((truth == 1).sum())
    if len(truth) < 2 * BINS or min(positives, len(truth) - positives) < 2:
        return None
    if roc_auc(truth, score) > SEPARATED:
        return None
    every = max(1, len(truth) // MOST_ROWS)
    return isotonic_curve(truth, score) if _helps(truth[::every], score[::every]) else None


def _helps(truth: Array, score: Array) -> bool:
    """Whether calibrated scores of unseen rows have the smaller calibration error."""
    order = np.argsort(score, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    ordered = np.asarray(truth, dtype=np.float64)[order], np.asarray(score, dtype=float)[order]
    unseen = [
        _unseen(*ordered, place, train, test)
        for train, test in stratified_shuffles(truth, SPLITS, TEST_SHARE, SEED)
    ]
    tested, raw, calibrated = (np.concatenate(parts) for parts in zip(*unseen, strict=True))
    before = expected_calibration_error(tested, raw)
    return before > expected_calibration_error(tested, calibrated)


def expected_calibration_error(truth: Array, score: Array, bins: int = BINS) -> float:
    """Mean distance between what is said and what occurs, over bins of equal count.

    ECE = Σ |mean(score) - mean(truth)| · rows / all rows (Naeini, Cooper and Hauskrecht 2015).

    Args:
        truth: Classes (rows,), 0 or 1; two rows at least.
        score: Probabilities of 1 (rows,).
        bins: How many bins; half as many as rows at most. The last takes what is left over.
    """
    rows = len(truth)
    count = bins if rows > 2 * bins else max(rows // 2, 1)
    starts = np.arange(count) * (rows // count)
    order = np.argsort(score, kind="stable")
    gaps = np.add.reduceat(np.asarray(score - truth, dtype=np.float64)[order], starts)
    return float(np.sum(np.abs(gaps)) / rows)


def stratified_shuffles(
    truth: Array, splits: int, share: float, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Draw train and test rows again and again, each class in proportion.

    It draws as scikit-learn's ``StratifiedShuffleSplit`` does from the same seed.

    Args:
        truth: Classes (rows,) of two values or more, each in two rows at least.
        splits: How many times.
        share: The test rows' share, rounded up to a whole row.
        seed: Seed of the draws.

    Yields:
        Positions of the train rows and of the test rows.
    """
    random = np.random.RandomState(seed)
    classes, belongs, counts = np.unique(truth, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(belongs, kind="stable"), np.cumsum(counts)[:-1])
    test_rows = int(np.ceil(share * len(truth)))
    for _ in range(splits):
        train_counts = _apportioned(counts, len(truth) - test_rows, random)
        test_counts = _apportioned(counts - train_counts, test_rows, random)
        train: list[NDArray[np.int64]] = []
        test: list[NDArray[np.int64]] = []
        for one in range(len(classes)):
            drawn = members[one][random.permutation(counts[one])]
            train.append(drawn[: train_counts[one]])
            test.append(drawn[train_counts[one] : train_counts[one] + test_counts[one]])
        yield random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _apportioned(
    counts: NDArray[np.int64], rows: int, random: np.random.RandomState
) -> NDArray[np.int64]:
    """Rows of each class in proportion; those left over go to the largest remainders, by lot."""
    exact = counts / counts.sum() * rows
    whole = np.floor(exact)
    missing = int(rows - whole.sum())
    remainder = exact - whole
    for value in np.sort(np.unique(remainder))[::-1]:
        if missing <= 0:
            break
        tied = np.flatnonzero(remainder == value)
        taken = min(len(tied), missing)
        whole[random.choice(tied, size=taken, replace=False)] += 1
        missing -= taken
    return np.asarray(whole, dtype=np.int64)


def _unseen(
    truth: Floats,
    score: Floats,
    place: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> tuple[Floats, Floats, Floats]:
    """Truth, score and calibrated score of test rows; truth and score are ordered by score."""
    fitted = np.zeros(len(truth), dtype=bool)
    fitted[place[train]] = True
    tested = np.zeros(len(truth), dtype=bool)
    tested[place[test]] = True
    curve = _curve(truth[fitted], score[fitted])
    return truth[tested], score[tested], curve.at(score[tested])


def _curve(truth: Floats, score: Floats) -> Curve:
    """The isotonic curve of rows that are ordered by score."""
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    weights = np.diff(np.r_[starts, len(score)]).astype(np.float64)
    points = score[starts]
    firsts, levels = pooled(np.add.reduceat(truth, starts), weights)
    lasts = np.r_[firsts[1:], len(points)] - 1
    knots = np.unique(np.r_[firsts, lasts])
    of_block = np.searchsorted(firsts, knots, side="right") - 1
    return Curve(points[knots], levels[of_block])


def pooled(sums: Floats, weights: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Pool adjacent violators, until the means of blocks increase (Ayer et al. 1955).

    Whole runs of violators are pooled at once as long as that goes fast, the rest one by one.

    Args:
        sums: Sum of the values at each point (points,), in order.
        weights: Rows at each point (points,).

    Returns:
        The first point of each block, and the block's mean.
    """
    firsts = np.arange(len(sums))
    while True:
        means = sums / weights
        starts = np.flatnonzero(np.r_[True, means[1:] > means[:-1]])
        if len(starts) > 0.9 * len(means):
            break
        firsts = firsts[starts]
        sums, weights = np.add.reduceat(sums, starts), np.add.reduceat(weights, starts)
    return _pooled_one_by_one(firsts, sums, weights)


def _pooled_one_by_one(
    firsts: NDArray[np.int64], sums: Floats, weights: Floats
) -> tuple[NDArray[np.int64], Floats]:
    blocks: list[tuple[int, float, float]] = []
    for first, total, weight in zip(firsts.tolist(), sums.tolist(), weights.tolist(), strict=True):
        while blocks and blocks[-1][1] * weight >= total * blocks[-1][2]:
            first, before, rows = blocks.pop()
            total, weight = total + before, weight + rows
        blocks.append((first, total, weight))
    starts = np.array([block[0] for block in blocks])
    return starts, np.array([total / weight for _, total, weight in blocks])
