"""Profiles of columns: counts over fixed bins that can be merged.

Batch and stream give the same counts, so that training data and production can be compared.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import Entity
from treadle.stats.histograms import count_between

BINS = 10
CATEGORIES = 30
RARE = 5  # a category with fewer rows shares the bin of all others
MISSING, OTHER = "(missing)", "(other)"
REFERENCE = "reference.json"
"""Name of the file in a model folder that holds its ``Reference``."""


class ColumnProfile(Entity):
    """Counts of one column over fixed bins.

    Attributes:
        counts: Rows per bin; a numeric column has one more count at the end, of missing values.
        edges: Inner edges between the bins of a numeric column, ascending; empty for text.
        labels: Categories of a column of text, with ``(other)`` and ``(missing)``; empty for
            numbers.
    """

    counts: list[int]
    edges: list[float] = []
    labels: list[str] = []

    @property
    def rows(self) -> int:
        """Number of rows that were counted."""
        return sum(self.counts)

    def count(self, values: NDArray[Any]) -> "ColumnProfile":
        """Count other values over the same bins.

        Args:
            values: Column of shape (rows,): float64 for numbers, objects for text.

        Returns:
            A profile of these values alone.
        """
        if self.edges:
            counts = count_between(values, self.edges)
        else:
            counts = _count_labels(values, self.labels)
        return ColumnProfile(counts=counts, edges=self.edges, labels=self.labels)

    def merge(self, other: "ColumnProfile") -> "ColumnProfile":
        """Add the counts of two profiles.

        Args:
            other: A profile over the same bins.

        Raises:
            ValueError: The profiles have different bins.
        """
        if (self.edges, self.labels) != (other.edges, other.labels):
            raise ValueError("profiles over different bins cannot be merged")
        added = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return ColumnProfile(counts=added, edges=self.edges, labels=self.labels)


class Reference(Entity):
    """What a model saw in training; a model folder keeps it as ``reference.json``.

    Attributes:
        rows: Number of training rows that were sampled; every second one is counted.
        columns: Profile of each input column.
        prediction: Profile of the model's predictions.
        parity: Largest absolute difference between the outputs of the trained and the packaged
            model.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    prediction: ColumnProfile
    parity: float


def profile(values: NDArray[Any]) -> ColumnProfile:
    """Profile a column over bins chosen from its own values.

    Numbers are binned by their deciles. Text is binned by its most frequent categories.

    Args:
        values: Column of shape (rows,): a float array for numbers, objects for text.
    """
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        inner = np.linspace(0, 1, BINS + 1)[1:-1]
        quantiles = np.quantile(finite, inner) if len(finite) else np.array([0.0])
        edges = [float(edge) for edge in np.unique(quantiles)]
        return ColumnProfile(counts=count_between(values, edges), edges=edges)
    counts = Counter(values.tolist()).most_common(CATEGORIES + 2)
    common = [
        value
        for value, rows in counts
        if label_of(value) not in (None, MISSING, OTHER) and rows >= RARE
    ]
    labels = [*sorted(str(value) for value in common[:CATEGORIES]), OTHER, MISSING]
    return ColumnProfile(counts=_count_labels(values, labels), labels=labels)


def reference_profile(values: NDArray[Any]) -> ColumnProfile:
    """Profile a column in order to compare later samples with it.

    Bins are chosen on every second row and the remaining rows are counted. Rows that choose the
    bins and are counted in them too would make later samples look different when they are not.

    Args:
        values: Column of shape (rows,): a float array for numbers, objects for text.
    """
    return profile(values[::2]).count(values[1::2])


def count_labels(texts: Mapping[Any, int], labels: Sequence[str]) -> list[int]:
    """Count texts by label.

    Args:
        texts: Rows of each value; None, NaN and the empty text are missing.
        labels: Labels, with ``(other)`` and ``(missing)`` among them.

    Returns:
        Rows of each label.
    """
    bins = {label: index for index, label in enumerate(labels)}
    counts = [0] * len(labels)
    for value, rows in texts.items():
        label = label_of(value)
        counts[bins.get(MISSING if label is None else label, bins[OTHER])] += rows
    return counts


def label_of(value: Any) -> str | None:
    """The label of a value of text; None where it is missing.

    Args:
        value: A value.
    """
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


def _count_labels(values: NDArray[Any], labels: list[str]) -> list[int]:
    return count_labels(Counter(values.tolist()), labels)
