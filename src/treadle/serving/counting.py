"""Counts inputs and answers over the bins of the training data, for the measurement of drift."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile, Reference
from treadle.ports.runtime import Layout
from treadle.serving.rows import Rows

COUNT_ROWS = 512  # rows are counted about this many at a time
MOST_ROWS = 128  # evenly spaced rows that stand for a larger batch
PREDICTION = "prediction"


class Counting:
    """Profiles of a champion's inputs and outputs since it became the champion.

    Those of several replicas merge by addition.

    Args:
        reference: The profile of the training data; None where nothing is counted.
        classes: Names of the model's classes. Of several, the predicted class is counted.
    """

    def __init__(self, reference: Reference | None, classes: Sequence[str] = ()) -> None:
        self._reference = reference
        self._classes = np.array([*classes, None], dtype=object)
        self._texts: dict[str, ColumnProfile] = {}
        self._bins: Bins | None = None
        self._pending: list[tuple[Rows, NDArray[np.float32]]] = []
        self._layout = Layout([])
        self._rows = 0

    def add(self, layout: Layout, rows: Rows, outputs: NDArray[np.float32]) -> None:
        """Count rows, now or together with the next ones.

        Args:
            layout: The names of the rows' columns.
            rows: The rows.
            outputs: The answers, float32 (rows,) or (rows, classes).
        """
        if self._reference is None:
            return
        if self._bins is None:  # one generation has one layout
            bins = {name: self._reference.columns.get(name) for name in layout.numbers}
            self._layout, self._bins = layout, Bins([*bins.values(), self._reference.prediction])
        if len(rows) > MOST_ROWS:
            spaced = slice(None, None, -(-len(rows) // MOST_ROWS))
            rows, outputs = rows.part(spaced), outputs[spaced]
        self._pending.append((rows, outputs))
        self._rows += len(rows)
        if self._rows >= COUNT_ROWS:
            self._count()

    def profiles(self) -> dict[str, ColumnProfile]:
        """Return the counts by column, and those of the answers as `prediction`."""
        self._count()
        if self._bins is None:
            return {}
        counted = dict(zip([*self._layout.numbers, PREDICTION], self._bins.profiles(), strict=True))
        return self._texts | {
            name: profile for name, profile in counted.items() if profile is not None
        }

    def _count(self) -> None:
        pending, self._pending, self._rows = self._pending, [], 0
        if self._reference is None or self._bins is None or not pending:
            return
        outputs = np.concatenate([outputs for _, outputs in pending])
        scores = outputs if outputs.ndim == 1 else outputs.max(axis=1)
        if outputs.ndim == 2 and self._reference.prediction.labels:
            self._count_text(PREDICTION, self._reference.prediction, self._named(outputs))
        with np.errstate(invalid="ignore"):  # a NaN of any kind is a missing number
            numbers = np.concatenate([rows.numbers for rows, _ in pending])
        self._bins.count(np.column_stack([numbers, scores]))
        for index, name in enumerate(self._layout.texts):
            bins = self._reference.columns.get(name)
            if bins is not None and not bins.edges:
                texts = np.concatenate([rows.texts[:, index] for rows, _ in pending])
                self._count_text(name, bins, texts)

    def _named(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        """The likeliest class of each row by its name; None where the model failed."""
        failed = np.isnan(outputs).any(axis=1)
        return np.asarray(self._classes[np.where(failed, -1, outputs.argmax(axis=1))])

    def _count_text(self, name: str, bins: ColumnProfile, values: NDArray[Any]) -> None:
        counted = bins.count(values)
        before = self._texts.get(name)
        self._texts[name] = before.merge(counted) if before is not None else counted


class Bins:
    """Counts of several numeric columns at once.

    Args:
        profiles: The bins of each column; a column with None, or with bins of text, is not counted.
    """

    def __init__(self, profiles: list[ColumnProfile | None]) -> None:
        self._profiles = profiles
        most = max((len(profile.edges) for profile in profiles if profile), default=0)
        self._edges = np.full((most, len(profiles)), np.inf)
        for index, profile in enumerate(profiles):
            if profile is not None:
                self._edges[: len(profile.edges), index] = profile.edges
        self._size = most + 2  # the bins between and beyond the edges, and one for missing numbers
        self._offsets = np.arange(len(profiles)) * self._size
        self._counts = np.zeros(len(profiles) * self._size, dtype=np.int64)

    def count(self, numbers: NDArray[np.float64]) -> None:
        """Count rows.

        Args:
            numbers: An array (rows, columns); NaN is missing.
        """
        bins = np.zeros(numbers.shape, dtype=np.int64)
        for edges in self._edges:
            bins += numbers >= edges
        bins[np.isnan(numbers)] = self._size - 1
        self._counts += np.bincount((bins + self._offsets).ravel(), minlength=len(self._counts))

    def profiles(self) -> list[ColumnProfile | None]:
        """Return the counts of each column; None for one that was not counted."""
        profiles: list[ColumnProfile | None] = []
        for profile, counts in zip(
            self._profiles, self._counts.reshape(-1, self._size).tolist(), strict=True
        ):
            if profile is None or not profile.edges or not sum(counts):
                profiles.append(None)
                continue
            used = [*counts[: len(profile.edges) + 1], counts[-1]]
            profiles.append(ColumnProfile(counts=used, edges=profile.edges))
        return profiles
