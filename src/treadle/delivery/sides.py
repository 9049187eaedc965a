"""Puts answers and labels of a rollout's two versions over the same classes."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from treadle.ports.runtime import Signature
from treadle.serving.log_batch import LogBatch
from treadle.stats.classes import Truth, joined, known_as, positions, spread, truths

Output = float | list[float]
"""An answer: one number, or one for each class."""


class Sides:
    """What both versions of a rollout answer, so that they can be compared.

    Args:
        signatures: Signature of each version by its name, such as ``flights:3``, the newcomer's
            last; versions whose signature is not known are left out.
        positive: Word that a label of 1 means, if one is declared.
    """

    def __init__(
        self, signatures: Mapping[str, Signature] | None = None, positive: str | None = None
    ) -> None:
        signatures = signatures or {}
        self._positive = positive
        self._newcomer = [*signatures.values()][-1] if signatures else None
        self._several = self._newcomer is not None and self._newcomer.output == "probabilities"
        self._own = {
            version: signature.classes
            for version, signature in signatures.items()
            if signature.output == "probabilities"
        }
        self._classes = joined(*self._own.values())

    def outputs(self, batch: LogBatch) -> NDArray[np.float32] | None:
        """The answers of a batch.

        Args:
            batch: Rows that one version answered together.

        Returns:
            Numbers (rows,); of several classes scores (rows, classes of both versions and one for
            all others); None where they are of another kind than the newcomer's.
        """
        if (batch.outputs.ndim == 2) is not self._several:
            return None
        if not self._several:
            return batch.outputs
        own = self._own.get(batch.facts.version, [])
        if len(own) != batch.outputs.shape[1]:
            return None
        scores = spread(batch.outputs, own, self._classes)
        return np.column_stack([scores, np.zeros(len(scores), dtype=scores.dtype)])

    @property
    def have_losses(self) -> bool:
        """Whether one answer alone can be wrong; scores of anomalies only put rows in an order."""
        return self._newcomer is None or self._newcomer.output != "score"

    def differ(self, first: Output, second: Output) -> bool:
        """Whether two answers to one request say different things.

        Classes differ, anomalies are none to the other, two probabilities are on different sides of
        ½, or two numbers a tenth apart.

        Args:
            first: One version's answer.
            second: The other's.
        """
        if isinstance(first, list) or isinstance(second, list):
            return int(np.argmax(first)) != int(np.argmax(second))
        if not self.have_losses:
            return (first > 0) is not (second > 0)
        if 0 <= first <= 1 and 0 <= second <= 1:
            return (first >= 0.5) is not (second >= 0.5)
        return abs(first - second) > 0.1 * max(abs(first), abs(second))

    def truths(self, labels: Sequence[Truth]) -> NDArray[np.float64]:
        """Labels as metrics take them, NaN where one is none of two classes.

        Args:
            labels: Labels (requests,).
        """
        if self._several:
            places = positions(labels, self._classes)
            return np.where(np.isnan(places), len(self._classes), places)
        signature = self._newcomer or Signature(inputs=[], output="probability")
        return truths(labels, signature.output, signature.classes, self._positive)


def rewards_of(labels: Iterable[Truth]) -> NDArray[np.float64]:
    """Labels as rewards: numbers, and true and false as 1 and 0; NaN for words.

    Args:
        labels: Labels (requests,).
    """
    numbers = [known_as(label) for label in labels]
    return np.array([number if isinstance(number, float) else np.nan for number in numbers])
