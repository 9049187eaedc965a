"""Tests whether two samples of many columns are alike as a whole: ranks, projections, kernels.

Each is valid given both samples together: where nothing has changed, which rows are of which sample
is a random draw, whatever the distribution is.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
FEATURES = 256
"""Random Fourier features that stand for the kernel."""


class Compared(NamedTuple):
    """Two samples of one number, compared by their ranks.

    Attributes:
        auc: Probability that a value of the second sample is above one of the first, ties counted
            half.
        p_above: P-value that the second is not above the first.
        p: The same for a difference in either direction.
    """

    auc: float
    p_above: float
    p: float


def rank_sum(first: Matrix, second: Matrix) -> Compared:
    """Compare two samples by Wilcoxon's rank-sum test, with ties, by its normal limit.

    Args:
        first: Values (rows,), 10 or more.
        second: Values (rows,), 10 or more.
    """
    n, m = len(first), len(second)
    values, places, counts = np.unique(
        np.concatenate([first, second]), return_inverse=True, return_counts=True
    )
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places]
    above = float(ranks[n:].sum()) - m * (m + 1) / 2
    total = n + m
    ties = float((counts.astype(float) ** 3 - counts).sum()) / (total * (total - 1.0))
    spread = math.sqrt(max(n * m / 12 * (total + 1 - ties), 0.0))
    if len(values) < 2 or spread == 0:
        return Compared(0.5, 1.0, 1.0)
    z = (above - n * m / 2) / spread
    return Compared(above / (n * m), _tail(z), min(1.0, 2 * _tail(abs(z))))


def _tail(z: float) -> float:
    """The probability that a standard normal number is above ``z``."""
    return math.erfc(z / math.sqrt(2)) / 2


class Projection(NamedTuple):
    """The directions that hold most of the spread of some rows.

    Attributes:
        center: Mean of each column (columns,).
        axes: Orthogonal directions (kept, columns).
    """

    center: Matrix
    axes: Matrix

    def errors(self, rows: Matrix) -> Matrix:
        """How far rows are from their projection (rows,).

        Args:
            rows: Rows (rows, columns).
        """
        centered = rows - self.center
        left = centered - (centered @ self.axes.T) @ self.axes
        return np.asarray(np.sqrt((left**2).sum(axis=1)))

    def coordinates(self, rows: Matrix) -> Matrix:
        """The coordinates of rows (rows, kept).

        Args:
            rows: Rows (rows, columns).
        """
        return np.asarray((rows - self.center) @ self.axes.T)


def principal_axes(rows: Matrix, *, share: float = 1.0, most: int | None = None) -> Projection:
    """Find the principal components of rows.

    Args:
        rows: Rows (rows, columns).
        share: The share of variance that is kept at least.
        most: The most components that are kept; None for as many as there are.
    """
    center = rows.mean(axis=0)
    centered = rows - center
    variances, axes = np.linalg.eigh(centered.T @ centered / max(1, len(rows) - 1))
    order = np.argsort(variances)[::-1]
    variances = np.maximum(variances[order], 0.0)
    total = variances.sum()
    kept = 1 + int(np.searchsorted(np.cumsum(variances), share * total - 1e-12)) if total else 1
    kept = min(kept, len(order), most or len(order))
    return Projection(center, np.asarray(axes[:, order[:kept]].T))


def mean_discrepancy(
    first: Matrix, second: Matrix, *, permutations: int, random: np.random.Generator
) -> tuple[float, float]:
    """Compare two samples by their maximum mean discrepancy (Gretton et al. 2012).

    The kernel is Gaussian, as wide as the median distance; random Fourier features (Rahimi and
    Recht 2007) stand for it, so each permutation takes time linear in the rows.

    Args:
        first: Rows (rows, columns).
        second: Rows (rows, columns).
        permutations: How often the rows are dealt anew.
        random: The source of randomness.

    Returns:
        The squared discrepancy, and its p-value by permutation, at least 1 / (permutations + 1).
    """
    both = np.concatenate([first, second])
    pairs = random.integers(0, len(both), (2, 2_000))
    distances = np.sqrt(((both[pairs[0]] - both[pairs[1]]) ** 2).sum(axis=1))
    width = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
    angles = both @ random.normal(0.0, 1.0 / width, (both.shape[1], FEATURES))
    features = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / math.sqrt(FEATURES)
    features -= features.mean(axis=0)
    n, m = len(first), len(second)

    def squared(sums: NDArray[Any]) -> Matrix:
        """Both means differ by the sum over the second sample times this, since all sums are 0."""
        return np.asarray(((sums * (1 / m + 1 / n)) ** 2).sum(axis=-1))

    found = float(squared(features[n:].sum(axis=0)))
    dealt = np.zeros((permutations, n + m), dtype=np.float32)
    for row in dealt:
        row[random.choice(n + m, m, replace=False)] = 1.0
    chance = squared(dealt @ features.astype(np.float32))
    return found, float((1 + (chance >= found * (1 - 1e-6)).sum()) / (permutations + 1))
