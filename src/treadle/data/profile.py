"""What a table's columns look like: counts over fixed bins, mergeable, so that batch and stream give the same numbers."""

import math
from collections import Counter
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


class ColumnProfile(Entity):
    """Counts of one column: per bin between ``edges`` (numbers) or per category in ``labels`` (text).

    The last count of a numeric column is its missing values; text has ``(missing)`` and ``(other)`` among its labels.
    """

    counts: list[int]
    edges: list[float] = []
    labels: list[str] = []

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def count(self, values: NDArray[Any]) -> "ColumnProfile":
        """The counts of other values (float64 or objects) over the same bins."""
        counted = (
            count_between(values, self.edges) if self.edges else _count_labels(values, self.labels)
        )
        return ColumnProfile(counts=counted, edges=self.edges, labels=self.labels)

    def merge(self, other: "ColumnProfile") -> "ColumnProfile":
        """Counts of both; they must have the same bins."""
        if (self.edges, self.labels) != (other.edges, other.labels):
            raise ValueError("profiles over different bins cannot be merged")
        added = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        return ColumnProfile(counts=added, edges=self.edges, labels=self.labels)


class Reference(Entity):
    """What a model saw in training: the profile of each input column and of its predictions, over half of ``rows``.

    A model folder keeps it as ``reference.json``. ``parity`` is the largest difference between the trained and the packaged model.
    """

    rows: int
    columns: dict[str, ColumnProfile]
    prediction: ColumnProfile
    parity: float


def profile(values: NDArray[Any]) -> ColumnProfile:
    """Choose bins from the values themselves: quantiles for numbers, the commonest categories for text."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        quantiles = (
            np.quantile(finite, np.linspace(0, 1, BINS + 1)[1:-1])
            if len(finite)
            else np.array([0.0])
        )
        edges = [float(edge) for edge in np.unique(quantiles)]
        return ColumnProfile(counts=count_between(values, edges), edges=edges)
    counts = Counter(values.tolist()).most_common(CATEGORIES + 2)
    common = [value for value, rows in counts if _label(value) != MISSING and rows >= RARE]
    labels = [*sorted(str(value) for value in common[:CATEGORIES]), OTHER, MISSING]
    return ColumnProfile(counts=_count_labels(values, labels), labels=labels)


def reference_profile(values: NDArray[Any]) -> ColumnProfile:
    """A profile to compare later samples with: bins are chosen on every other row and the remaining rows are counted.

    Counts that had decided over their own bins would make later samples look different when they are not.
    """
    return profile(values[::2]).count(values[1::2])


def _count_labels(values: NDArray[Any], labels: list[str]) -> list[int]:
    places = {label: place for place, label in enumerate(labels)}
    counts = [0] * len(labels)
    for value, rows in Counter(values.tolist()).items():
        counts[places.get(_label(value), places[OTHER])] += rows
    return counts


def _label(value: Any) -> str:
    missing = value is None or value == "" or (isinstance(value, float) and math.isnan(value))
    return MISSING if missing else str(value)
