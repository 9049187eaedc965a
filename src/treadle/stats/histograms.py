"""Histograms over bins that are fixed beforehand, so that batch and stream count alike."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.stats.distances import kolmogorov_smirnov

_LOG_BIN = math.log(1.02)  # latencies are kept to 2 %
_LATENCY_BINS = 1200  # up to e^(1200 · 0.0198) µs: days
_SCALE, _WIDTH, _HALF = 1e-3, 0.02, 1600  # predictions are kept in bins of 2 % of their size


def count_between(values: NDArray[Any], edges: list[float]) -> list[int]:
    """Count numbers between edges.

    Args:
        values: Numbers (rows,) of any type; NaN is a missing one.
        edges: Edges between the bins, ascending; a number that equals one lies above it.

    Returns:
        Counts of the ``len(edges) + 1`` bins, then the count of the missing numbers.
    """
    numbers = values.astype(np.float64)
    missing = np.isnan(numbers)
    bins = np.searchsorted(np.array(edges), numbers[~missing], side="right")
    return [*np.bincount(bins, minlength=len(edges) + 1).tolist(), int(missing.sum())]


class LatencyHistogram:
    """Latencies counted in bins of 2 %: quantiles and counts of any number of them."""

    def __init__(self) -> None:
        """Start without latencies."""
        self._counts = np.zeros(_LATENCY_BINS, dtype=np.int64)

    def add(self, micros: list[int]) -> None:
        """Count latencies.

        Args:
            micros: Latencies in microseconds; less than one counts as one.
        """
        bins = np.log(np.maximum(np.array(micros, dtype=np.float64), 1.0)) / _LOG_BIN
        last = _LATENCY_BINS - 1
        counted = np.minimum(bins.astype(np.int64), last)
        self._counts += np.bincount(counted, minlength=_LATENCY_BINS)

    def __len__(self) -> int:
        """How many latencies were counted."""
        return int(self._counts.sum())

    def quantile(self, part: float) -> float:
        """Latency in milliseconds that this part did not exceed, to 2 %; 0 when there is none.

        Args:
            part: Part of the latencies, from 0 to 1.
        """
        if not len(self):
            return 0.0
        index = int(np.searchsorted(np.cumsum(self._counts), part * len(self)))
        return math.exp((index + 0.5) * _LOG_BIN) / 1000

    def above(self, milliseconds: float) -> int:
        """How many latencies were longer, to 2 %.

        Args:
            milliseconds: The limit in milliseconds.
        """
        first = math.ceil(math.log(max(milliseconds * 1000, 1.0)) / _LOG_BIN)
        return int(self._counts[max(0, first) :].sum())


class PredictionHistogram:
    """Predictions counted in bins: numbers by their size (2 %), classes by the likeliest."""

    def __init__(self) -> None:
        """Start without predictions."""
        self._counts = np.zeros(2 * _HALF + 1, dtype=np.int64)

    def add(self, outputs: NDArray[np.float32]) -> None:
        """Count predictions.

        Args:
            outputs: Numbers (rows,), or scores of classes (rows, classes).
        """
        if outputs.ndim == 2:
            bins = outputs.argmax(axis=1) + _HALF
        else:
            sizes = np.arcsinh(outputs.astype(np.float64) / _SCALE) / _WIDTH
            bins = np.clip(np.rint(np.nan_to_num(sizes)), -_HALF, _HALF).astype(np.int64) + _HALF
        self._counts += np.bincount(bins, minlength=2 * _HALF + 1)

    def __len__(self) -> int:
        """How many predictions were counted."""
        return int(self._counts.sum())

    def distance(self, other: "PredictionHistogram") -> float:
        """Kolmogorov and Smirnov's distance of two samples, from 0 to 1.

        Args:
            other: The other sample.
        """
        return kolmogorov_smirnov(self._counts, other._counts)
