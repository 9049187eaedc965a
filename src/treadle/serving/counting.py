"""Counts of what is asked and answered, over the bins of the training data: what drift is measured on, as it happens."""

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile, Reference
from treadle.ports.runtime import Layout
from treadle.serving.rows import Rows

COUNT_ROWS = 512  # rows are counted this many at a time
PREDICTION = "prediction"


class Counting:
    """Profiles of a champion's inputs and outputs since it is the champion. They merge over replicas by addition."""

    def __init__(self, reference: Reference | None) -> None:
        self._reference = reference
        self._counts: dict[str, ColumnProfile] = {}
        self._pending: list[tuple[Rows, NDArray[np.float32]]] = []
        self._layout = Layout([])
        self._rows = 0

    def add(self, layout: Layout, rows: Rows, outputs: NDArray[np.float32]) -> None:
        """Count rows, at once or together with the next ones."""
        if self._reference is None:
            return
        if layout is not self._layout:
            self._count()
            self._layout = layout
        self._pending.append((rows, outputs))
        self._rows += len(rows)
        if self._rows >= COUNT_ROWS:
            self._count()

    def profiles(self) -> dict[str, ColumnProfile]:
        """Counts by column, and those of the answers as ``prediction``."""
        self._count()
        return self._counts

    def _count(self) -> None:
        pending, self._pending, self._rows = self._pending, [], 0
        if self._reference is None or not pending:
            return
        numbers = np.concatenate([rows.numbers for rows, _ in pending])
        texts = np.concatenate([rows.texts for rows, _ in pending])
        outputs = np.concatenate([outputs for _, outputs in pending])
        for place, name in enumerate(self._layout.numbers):
            self._merge(name, self._reference.columns.get(name), numbers[:, place])
        for place, name in enumerate(self._layout.texts):
            self._merge(name, self._reference.columns.get(name), texts[:, place])
        scores = outputs if outputs.ndim == 1 else outputs.max(axis=1)
        self._merge(PREDICTION, self._reference.prediction, scores)

    def _merge(self, name: str, bins: ColumnProfile | None, values: NDArray[np.float64]) -> None:
        if bins is None or bool(bins.edges) != (values.dtype != object):
            return
        counted = bins.count(values)
        self._counts[name] = self._counts[name].merge(counted) if name in self._counts else counted
