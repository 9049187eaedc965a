"""What rows of known truth teach of a model's probabilities: curves that calibrate its scores."""

import numpy as np

from treadle.kernel.entity import Entity
from treadle.stats.calibration import Curve, Floats, isotonic_curve, useful_curve
from treadle.stats.metrics import Array


class ScoreCurve(Entity):
    """How often a class is true by its score; linear between knots, constant beyond them.

    Attributes:
        scores: Scores, ascending; empty where the score is as good a probability as any curve.
        probabilities: The probability at each.
    """

    scores: list[float] = []
    probabilities: list[float] = []

    def at(self, scores: Array) -> Floats:
        """The calibrated probabilities of scores.

        Args:
            scores: Scores (rows,), from 0 to 1.
        """
        if not self.scores:
            return np.asarray(scores, dtype=np.float64)
        return Curve(np.array(self.scores), np.array(self.probabilities)).at(scores)


class Calibration(Entity):
    """What a model's scores are worth as probabilities, by rows that it has not learnt from.

    Attributes:
        rows: Rows of known truth that it rests on.
        curves: The curve of class 1 of two, or of each of several.
    """

    rows: int
    curves: list[ScoreCurve]

    def chances(self, scores: Array) -> Floats:
        """Calibrated probabilities, which sum to 1 in each row.

        Args:
            scores: Scores of class 1 (rows,), or of each class (rows, classes).

        Returns:
            Probabilities (rows, classes), of two classes (rows, 2).
        """
        if scores.ndim == 1:
            chance = self.curves[0].at(scores)
            return np.stack([1 - chance, chance], axis=1)
        each = [curve.at(scores[:, place]) for place, curve in enumerate(self.curves)]
        chances = np.stack(each, axis=1)
        total = chances.sum(axis=1, keepdims=True)
        uniform = np.full(chances.shape, 1 / chances.shape[1])
        return np.asarray(np.divide(chances, total, out=uniform, where=total > 0))

    def refitted(self, truth: Array, scores: Array) -> "Calibration":
        """The same on other rows: curves where there are curves.

        Args:
            truth: Classes (rows,), 0 or 1, or positions of classes.
            scores: Scores of class 1 (rows,), or of each class (rows, classes).
        """
        every = side_by_side(scores)[:, 1:] if scores.ndim == 1 else scores
        first = 1 if scores.ndim == 1 else 0
        curves = [
            _as_entity(isotonic_curve(truth == first + place, every[:, place]))
            if curve.scores and len(truth)
            else curve
            for place, curve in enumerate(self.curves)
        ]
        return Calibration(rows=len(truth), curves=curves)


def calibrate(truth: Array, scores: Array) -> Calibration:
    """Calibrate a model's scores, each class against the rest, where that helps on unseen rows.

    Args:
        truth: Classes (rows,), 0 or 1, or positions of classes.
        scores: Scores of class 1 (rows,), or of each class (rows, classes); finite, from 0 to 1.
    """
    if scores.ndim == 1:
        curves = [_kept(truth, scores)]
    else:
        curves = [_kept(truth == k, scores[:, k]) for k in range(scores.shape[1])]
    return Calibration(rows=len(truth), curves=curves)


def side_by_side(scores: Array) -> Floats:
    """Scores of each class (rows, classes); those of class 1 alone get their complement beside.

    Args:
        scores: Scores of class 1 (rows,), or of each class (rows, classes).
    """
    return np.stack([1 - scores, scores], axis=1) if scores.ndim == 1 else scores


def _kept(truth: Array, score: Array) -> ScoreCurve:
    curve = useful_curve(truth.astype(np.int64), score)
    return ScoreCurve() if curve is None else _as_entity(curve)


def _as_entity(curve: Curve) -> ScoreCurve:
    return ScoreCurve(scores=curve.scores.tolist(), probabilities=curve.probabilities.tolist())
