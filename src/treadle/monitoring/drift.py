"""Has a column's distribution moved? Calibrated for the actual sizes, gated by effect, corrected over columns."""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import ColumnProfile
from treadle.monitoring.model import ColumnDrift

FALSE_DISCOVERY_RATE = 0.05
MIN_EXPECTED = 5.0


def compare(
    reference: dict[str, ColumnProfile], current: dict[str, ColumnProfile], *, effect: float
) -> list[ColumnDrift]:
    """Every column's PSI and p-value; drifted are those that Benjamini-Hochberg rejects and whose PSI reaches ``effect``."""
    names = [
        name
        for name in reference
        if name in current and current[name].rows and reference[name].rows
    ]
    measured = [(name, *psi_test(reference[name], current[name])) for name in names]
    limit = _benjamini_hochberg([p for _, _, p in measured])
    return [
        ColumnDrift(column=name, psi=round(psi, 5), p=p, drifted=p <= limit and psi >= effect)
        for name, psi, p in measured
    ]


def psi_test(reference: ColumnProfile, current: ColumnProfile) -> tuple[float, float]:
    """The population stability index, and the probability of one as large when nothing moved.

    The probability is that of the χ² test of homogeneity with (bins - 1) degrees of freedom. In the PSI half a count is
    added to every bin, so that empty bins are no infinity; bins too rare for the approximation are pooled into one.
    """
    a, b = _pooled(np.array(reference.counts, dtype=float), np.array(current.counts, dtype=float))
    a, b = a + 0.5, b + 0.5
    p, q = a / a.sum(), b / b.sum()
    psi = float(np.sum((p - q) * np.log(p / q)))
    return psi, chi2_tail(_homogeneity(a - 0.5, b - 0.5), len(a) - 1)


def _homogeneity(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Pearson's two-sample χ²: PSI / (1/N + 1/n) tends to it, but only it keeps its level with few rows in a bin."""
    scale = math.sqrt(b.sum() / a.sum())
    return float(np.sum((a * scale - b / scale) ** 2 / (a + b)))


def _pooled(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both counts, with the bins in which either side expects fewer than MIN_EXPECTED rows made one (Cochran 1954)."""
    share = (a + b) / (a.sum() + b.sum())
    rare = share * min(a.sum(), b.sum()) < MIN_EXPECTED
    if not rare.any():
        return a, b
    rest = np.array([a[rare].sum()]), np.array([b[rare].sum()])
    if rest[0][0] + rest[1][0] == 0:
        return a[~rare], b[~rare]
    return np.concatenate([a[~rare], rest[0]]), np.concatenate([b[~rare], rest[1]])


def chi2_tail(x: float, degrees: int) -> float:
    """P(χ² ≥ x), by Wilson and Hilferty's cube-root normal approximation (1931): within 0.01 where it matters."""
    if degrees < 1 or x <= 0:
        return 1.0
    spread = 2 / (9 * degrees)
    return 1 - NormalDist().cdf(((x / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread))


def _benjamini_hochberg(values: list[float]) -> float:
    """The largest p-value that is still rejected, or -1 when none is."""
    ordered = sorted(values)
    passed = [
        p for place, p in enumerate(ordered, 1) if p <= FALSE_DISCOVERY_RATE * place / len(ordered)
    ]
    return max(passed, default=-1.0)
