"""Confidence-based performance estimation (CBPE) of classifiers, for rows of tables."""

from collections.abc import Sequence

import numpy as np

from treadle.evaluation.calibration import Calibration, calibrate, side_by_side
from treadle.monitoring.estimates import Measured
from treadle.stats.expected import Expectation
from treadle.stats.expected_intervals import corrected, interval
from treadle.stats.metrics import Array


class Answers:
    """A classifier's answers.

    Args:
        truth: Position of each row's class (rows,); NaN where it is not known.
        scores: Scores of class 1 (rows,), or of each class (rows, classes); NaN where missing.
        predicted: Position of the predicted class (rows,); NaN where missing.
    """

    def __init__(self, truth: Array, scores: Array, predicted: Array) -> None:
        self.truth, self.scores, self.predicted = truth, scores, predicted

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.truth)

    @property
    def usable(self) -> Array:
        """Which rows (rows,) have a score and a prediction."""
        scored = np.isfinite(self.scores)
        every = scored if scored.ndim == 1 else scored.all(axis=1)
        return np.asarray(every & np.isfinite(self.predicted))

    def part(self, rows: Array) -> "Answers":
        """Some of the rows.

        Args:
            rows: Positions of rows, or which of them.
        """
        return Answers(self.truth[rows], self.scores[rows], self.predicted[rows])

    def expectation(self, calibration: Calibration) -> Expectation:
        """What to expect of the rows.

        Args:
            calibration: What the scores are worth as probabilities.
        """
        chances = calibration.chances(self.scores)
        return Expectation(chances, side_by_side(self.scores), self.predicted)


class ConfidenceBased:
    """Estimates metrics of a classifier's answers from a reference of known truth.

    Args:
        reference: Rows of known truth that the model has not learnt from, all usable.
    """

    def __init__(self, reference: Answers) -> None:
        self._reference = reference
        self._calibration = calibrate(reference.truth, reference.scores)

    def measured(self, names: Sequence[str], rows: Answers) -> dict[str, Measured]:
        """Estimate metrics of some rows; labels that are there are used beside.

        Args:
            names: Names of the metrics.
            rows: Usable rows.
        """
        expectation = rows.expectation(self._calibration)
        return {name: self._one(name, expectation, rows.truth) for name in names}

    def reference_values(
        self, names: Sequence[str], chunks: Sequence[Array]
    ) -> dict[str, tuple[Array, Array]]:
        """Each metric in each chunk of the reference: realised, and estimated without its labels.

        Args:
            names: Names of the metrics.
            chunks: Positions of the rows of each chunk.
        """
        values: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for fold in np.array_split(np.arange(len(chunks)), min(len(chunks), 10)):
            others = np.ones(len(self._reference), dtype=bool)
            others[np.concatenate([chunks[place] for place in fold])] = False
            rest = self._reference.part(others)
            calibration = self._calibration.refitted(rest.truth, rest.scores)
            for place in fold:
                rows = self._reference.part(chunks[place])
                expectation = rows.expectation(calibration)
                known = expectation.known(rows.truth)
                for name in names:
                    pair = known.of(name).value, expectation.of(name).value
                    values[name].append(pair)
        return {
            name: (np.array([r for r, _ in pairs]), np.array([e for _, e in pairs]))
            for name, pairs in values.items()
        }

    def _one(self, name: str, rows: Expectation, truth: Array) -> Measured:
        expected = rows.of(name)
        labelled = np.isfinite(truth)
        realised = rows.part(labelled).known(truth[labelled]).of(name).value
        right = corrected(name, expected, rows, truth)
        return Measured(
            estimate=interval(name, expected, rows, calibrated_on=self._calibration.rows),
            realised=realised if np.isfinite(realised) else None,
            labels=int(labelled.sum()),
            corrected=None if right is None else right.estimate,
        )
