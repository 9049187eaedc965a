"""Compares the answers of a packaged model with those of the model that was trained."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid

ALLOWED_SHARE = 0.001
"""Share of the rows that may differ: a number between two float32 may cross a tree's threshold."""


class Parity(NamedTuple):
    """How far two models' answers are apart.

    Attributes:
        rows: Number of rows that were compared.
        differing: Number of rows that differ by more than the tolerance.
        largest: Largest absolute difference; NaN where only one of both is a number.
        allowed: The tolerance, absolute.
    """

    rows: int
    differing: int
    largest: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the packaged model answers as the trained one."""
        return self.largest == self.largest and self.differing <= ALLOWED_SHARE * self.rows

    def __str__(self) -> str:
        share = f"{self.differing} of {self.rows} rows"
        return f"{share} differ by more than {self.allowed:.2g}, at most by {self.largest:.2g}"


def compare(original: NDArray[Any], packaged: NDArray[Any], tolerance: float) -> Parity:
    """Compare two models' answers to the same rows.

    Args:
        original: The trained model's answers, of shape (rows,) or (rows, outputs).
        packaged: The packaged model's, of the same shape.
        tolerance: Largest difference of a row that is none; relative to the largest answer where
            that is above 1.

    Raises:
        Invalid: The shapes differ.
    """
    if original.shape != packaged.shape:
        raise Invalid(
            f"it gives an array of shape {list(packaged.shape)}, "
            f"and the trained model one of shape {list(original.shape)}"
        )
    if not original.size:
        return Parity(len(original), 0, 0.0, tolerance)
    original, packaged = original.astype(np.float64), packaged.astype(np.float64)
    same = (original == packaged) | (np.isnan(original) & np.isnan(packaged))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(original - packaged))
    finite = np.abs(original[np.isfinite(original)])
    allowed = tolerance * max(1.0, float(finite.max()) if finite.size else 1.0)
    differs = ~(difference <= allowed)
    rows = differs if differs.ndim == 1 else differs.any(axis=1)
    return Parity(len(original), int(rows.sum()), float(np.max(difference)), allowed)
