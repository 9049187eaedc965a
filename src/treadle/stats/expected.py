"""Confidence-based performance estimation: what a metric will be before any label has come.

A row whose probability is calibrated is right as often as its probability says, so each metric has
an expected value without its labels (Białek, Kuberski, Perrakis and Bifet 2024, "Estimating model
performance under covariate shift without labels", arXiv:2401.08348; the method is NannyML's CBPE).
It holds while the relation of inputs and truth stays the same. Of labels that are certain the
expected value is the realised one, so both have one definition here.

Each metric comes with its influence function, how far one row of each class moves it, which gives
standard errors by the delta method (Hampel 1974) and lets labels correct it as they come.
"""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, did_you_mean
from treadle.stats.metrics import Array

Floats = NDArray[np.float64]
_CERTAIN = 1e-15


class Expected(NamedTuple):
    """A metric's expected value.

    Attributes:
        value: The value, or NaN where there is none.
        influence: How far a row of each class moves it, (rows, classes): the derivative of the
            value by the row's weight.
    """

    value: float
    influence: Floats


class Scored:
    """Rows of two classes, seen from one of them.

    Args:
        chance: Calibrated probability of the class (rows,); 0 or 1 where the truth is known.
        score: The model's own score (rows,), of which only the order matters but for losses.
        chosen: Whether the class is predicted (rows,), as 0 and 1.
    """

    def __init__(self, chance: Array, score: Array, chosen: Array) -> None:
        self.chance = np.asarray(chance, dtype=np.float64)
        self.score = np.asarray(score, dtype=np.float64)
        self.chosen = np.asarray(chosen, dtype=np.float64)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions of the rows, the highest score first."""
        return np.argsort(-self.score, kind="stable")

    @cached_property
    def _ties(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The last place of each score in the order, and which score stands at each place."""
        descending = self.score[self.order]
        ends = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
        return ends, np.repeat(np.arange(len(ends)), np.diff(np.r_[-1, ends]))

    @cached_property
    def counts(self) -> tuple[Floats, Floats]:
        """Expected rows of the class, and all rows, down to each score (scores,)."""
        ends, _ = self._ties
        return np.cumsum(self.chance[self.order])[ends], ends.astype(np.float64) + 1

    def by_row(self, of_scores: Floats) -> Floats:
        """Values of the different scores (scores,) as values of the rows (rows,).

        Args:
            of_scores: A value for each different score, the highest first.
        """
        values = np.empty(len(self.score))
        values[self.order] = of_scores[self._ties[1]]
        return values


Measure = Callable[[Scored], Expected]


def roc_auc(rows: Scored) -> Expected:
    """Area under the ROC curve; influences by DeLong, DeLong and Clarke-Pearson (1988).

    AUC = Σᵢ cᵢ · (negatives below i + ½ of those tied with it) / (T · F), with T = Σ c the expected
    positives and F = Σ (1 - c) the expected negatives.
    """
    hits, seen = rows.counts
    false = seen - hits
    positives, negatives = hits[-1], false[-1]
    if positives <= _CERTAIN or negatives <= _CERTAIN:
        return _nothing(rows)
    beaten = rows.by_row(1 - (false + np.r_[0, false[:-1]]) / (2 * negatives))
    ahead = rows.by_row((hits + np.r_[0, hits[:-1]]) / (2 * positives))
    value, share = float(rows.chance @ beaten / positives), positives / len(rows.score)
    return Expected(value, _two((ahead - value) / (1 - share), (beaten - value) / share))


def average_precision(rows: Scored) -> Expected:
    """Mean of the precision at each positive, Σ cᵢ · TP(sᵢ)/M(sᵢ) / T; ties count together."""
    hits, seen = rows.counts
    positives, count = hits[-1], len(rows.score)
    if positives <= _CERTAIN:
        return _nothing(rows)
    precision = hits / seen
    gained = np.diff(np.r_[0, hits])
    value, share = float(gained @ precision / positives), positives / count
    up = np.cumsum((gained / seen)[::-1])[::-1]
    down = np.cumsum((gained * precision / seen)[::-1])[::-1]
    if_one, if_zero = rows.by_row(precision + up - down - value), rows.by_row(-down)
    return Expected(value, _two(if_zero / share, if_one / share))


def accuracy(rows: Scored) -> Expected:
    """Share of rows whose predicted class is the true one."""
    return _mean(rows, 1 - rows.chosen, rows.chosen)


def precision(rows: Scored) -> Expected:
    """TP / (TP + FP) with TP = Σ c[q=1] and FP = Σ (1-c)[q=1]."""
    nothing = np.zeros(len(rows.chosen))
    return _ratio(rows, nothing, rows.chosen, rows.chosen, rows.chosen)


def recall(rows: Scored) -> Expected:
    """TP / (TP + FN) with FN = Σ c[q=0]."""
    nothing, every = np.zeros(len(rows.chosen)), np.ones(len(rows.chosen))
    return _ratio(rows, nothing, rows.chosen, nothing, every)


def specificity(rows: Scored) -> Expected:
    """TN / (TN + FP) with TN = Σ (1-c)[q=0]."""
    nothing, every = np.zeros(len(rows.chosen)), np.ones(len(rows.chosen))
    return _ratio(rows, 1 - rows.chosen, nothing, every, nothing)


def f1(rows: Scored) -> Expected:
    """2 TP / (2 TP + FP + FN)."""
    nothing = np.zeros(len(rows.chosen))
    return _ratio(rows, nothing, 2 * rows.chosen, rows.chosen, rows.chosen + 1)


def brier(rows: Scored) -> Expected:
    """Mean squared error of the score as a probability."""
    return _mean(rows, rows.score**2, (1 - rows.score) ** 2)


def log_loss(rows: Scored) -> Expected:
    """Mean negative log-likelihood of the score as a probability, kept 1e-15 off 0 and 1."""
    score = np.clip(rows.score, _CERTAIN, 1 - _CERTAIN)
    return _mean(rows, -np.log1p(-score), -np.log(score))


def balanced_accuracy(rows: Scored) -> Expected:
    """Mean of recall and specificity, or the one of them that there is."""
    return _of_finite([recall(rows), specificity(rows)])


def macro_f1(rows: Scored) -> Expected:
    """Mean of the F1 of the class and of the F1 of the other."""
    other = f1(Scored(1 - rows.chance, 1 - rows.score, 1 - rows.chosen))
    mirrored = Expected(other.value, other.influence[:, ::-1])
    return _of_finite([f1(rows), mirrored])


def true_positives(rows: Scored) -> Expected:
    """Σ c[q=1]."""
    return _sum(rows, np.zeros(len(rows.chosen)), rows.chosen)


def false_positives(rows: Scored) -> Expected:
    """Σ (1-c)[q=1]."""
    return _sum(rows, rows.chosen, np.zeros(len(rows.chosen)))


def true_negatives(rows: Scored) -> Expected:
    """Σ (1-c)[q=0]."""
    return _sum(rows, 1 - rows.chosen, np.zeros(len(rows.chosen)))


def false_negatives(rows: Scored) -> Expected:
    """Σ c[q=0]."""
    return _sum(rows, np.zeros(len(rows.chosen)), 1 - rows.chosen)


_EITHER: tuple[Measure, ...] = (roc_auc, average_precision, precision, recall, specificity, f1)
_COUNTED: tuple[Measure, ...] = (true_positives, false_positives, true_negatives, false_negatives)
_OF_TWO_ALONE: tuple[Measure, ...] = (accuracy, brier, log_loss, balanced_accuracy, macro_f1)
_PER_CLASS: dict[str, Measure] = {measure.__name__: measure for measure in _EITHER}
_PER_CLASS |= {"balanced_accuracy": recall, "macro_f1": f1}
_OF_OCCURRING = ("balanced_accuracy", "macro_f1")
COUNTS = frozenset(measure.__name__ for measure in _COUNTED)
"""The metrics that are numbers of rows, and so grow with them."""
OF_TWO: dict[str, Measure] = {
    measure.__name__: measure for measure in (*_EITHER, *_OF_TWO_ALONE, *_COUNTED)
}
"""Every metric of two classes that can be expected, by its name."""
OF_SEVERAL = (*_PER_CLASS, "accuracy", "log_loss", "top_3_accuracy")
"""Names of the metrics of several classes that can be expected. Those that are metrics of two
classes are the mean over the classes, each against the rest."""


def can_be_expected(name: str, classes: int) -> bool:
    """Whether there is an expected value of a metric.

    Args:
        name: Any name.
        classes: How many classes the model tells apart.
    """
    return name in (OF_TWO if classes == 2 else OF_SEVERAL)


class Expectation:
    """Rows whose classes are known by their probabilities, and what metrics to expect of them.

    Args:
        chances: Calibrated probability of each class (rows, classes); of rows whose truth is known
            1 for it and 0 for the others. Rows sum to 1.
        scores: The model's own scores of the classes (rows, classes).
        predicted: Position of the predicted class (rows,).
    """

    def __init__(self, chances: Array, scores: Array, predicted: Array) -> None:
        self.chances = np.asarray(chances, dtype=np.float64)
        self._scores, self._predicted = scores, predicted
        self._scored: dict[int, Scored] = {}

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.chances)

    def of(self, name: str) -> Expected:
        """The expected value of a metric; NaN without rows, or where it is not defined.

        Args:
            name: The metric's name.

        Raises:
            Invalid: The metric cannot be expected of so many classes.
        """
        classes = self.chances.shape[1]
        check_expected(name, classes)
        if not len(self):
            return Expected(float("nan"), np.zeros(self.chances.shape))
        if classes == 2:
            return OF_TWO[name](self._against_others(1))
        if name in _PER_CLASS:
            return self._over_classes(name)
        return _mean_of(self.chances, self._row_values(name))

    def part(self, rows: Array) -> "Expectation":
        """Some of the rows.

        Args:
            rows: Positions of rows, or which of them.
        """
        return Expectation(self.chances[rows], self._scores[rows], self._predicted[rows])

    def known(self, truth: Array) -> "Expectation":
        """The same rows with their truths in the place of probabilities.

        Args:
            truth: Position of each row's class (rows,).
        """
        certain = (np.arange(self.chances.shape[1]) == truth[:, None]).astype(np.float64)
        return Expectation(certain, self._scores, self._predicted)

    def _against_others(self, place: int) -> Scored:
        if place not in self._scored:
            self._scored[place] = Scored(
                self.chances[:, place], self._scores[:, place], self._predicted == place
            )
        return self._scored[place]

    def _over_classes(self, name: str) -> Expected:
        """The mean over the classes; those that do not occur count in no metric of accuracy."""
        classes = self.chances.shape[1]
        each = [_PER_CLASS[name](self._against_others(place)) for place in range(classes)]
        spread = [_spread(one, place, classes) for place, one in enumerate(each)]
        return _of_finite(spread) if name in _OF_OCCURRING else _averaged(spread)

    def _row_values(self, name: str) -> Floats:
        """What each row adds to a mean, if it is of each class (rows, classes)."""
        if name == "log_loss":
            return np.asarray(-np.log(np.clip(self._scores, _CERTAIN, 1 - _CERTAIN)))
        values = np.zeros(self.chances.shape)
        if name == "accuracy":
            best = np.asarray(self._predicted, dtype=np.int64)[:, None]
        else:
            best = np.argsort(self._scores, axis=1, kind="stable")[:, -3:]
        np.put_along_axis(values, best, 1.0, axis=1)
        return values


def check_expected(name: str, classes: int) -> None:
    """Check that there is an expected value of a metric.

    Args:
        name: The metric's name.
        classes: How many classes the model tells apart.

    Raises:
        Invalid: There is none.
    """
    if not can_be_expected(name, classes):
        known = sorted(OF_TWO if classes == 2 else OF_SEVERAL)
        raise Invalid(
            f"'{name}' cannot be estimated without labels.{did_you_mean(name, known)} "
            f"Of {classes} classes these can: {', '.join(known)}."
        )


def _spread(one: Expected, place: int, classes: int) -> Expected:
    """A metric of one class against the rest, with the influence of a row of each class."""
    influence = np.repeat(one.influence[:, :1], classes, axis=1)
    influence[:, place] = one.influence[:, 1]
    return Expected(one.value, influence)


def _two(if_zero: Floats, if_one: Floats) -> Floats:
    return np.stack([if_zero, if_one], axis=1)


def _nothing(rows: Scored) -> Expected:
    return Expected(float("nan"), np.full((len(rows.score), 2), np.nan))


def _averaged(each: list[Expected]) -> Expected:
    value = float(np.mean([one.value for one in each]))
    influence = sum((one.influence for one in each[1:]), each[0].influence) / len(each)
    return Expected(value, influence)


def _of_finite(each: list[Expected]) -> Expected:
    """The mean of those that there are; NaN of none."""
    return _averaged([one for one in each if np.isfinite(one.value)] or each[:1])


def _mean_of(chances: Array, values: Array) -> Expected:
    """The mean of a value that depends on the row and on its class (rows, classes)."""
    value = float(np.mean(np.sum(chances * values, axis=1)))
    return Expected(value, values - value)


def _mean(rows: Scored, if_zero: Floats, if_one: Floats) -> Expected:
    value = float(np.mean(if_zero + rows.chance * (if_one - if_zero)))
    return Expected(value, _two(if_zero - value, if_one - value))


def _sum(rows: Scored, if_zero: Floats, if_one: Floats) -> Expected:
    mean, count = _mean(rows, if_zero, if_one), len(rows.chance)
    return Expected(mean.value * count, mean.influence * count)


def _ratio(
    rows: Scored, top_if_zero: Floats, top_if_one: Floats, of_if_zero: Floats, of_if_one: Floats
) -> Expected:
    """Σ top / Σ of, each of which depends on the row's class; NaN where there is nothing below."""
    top = float(np.mean(top_if_zero + rows.chance * (top_if_one - top_if_zero)))
    of = float(np.mean(of_if_zero + rows.chance * (of_if_one - of_if_zero)))
    if of <= _CERTAIN:
        return _nothing(rows)
    value = top / of
    if_zero, if_one = top_if_zero - value * of_if_zero, top_if_one - value * of_if_one
    return Expected(value, _two(if_zero / of, if_one / of))
