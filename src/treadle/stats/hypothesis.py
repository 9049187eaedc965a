"""Tests of hypotheses: the χ² test of homogeneity, and the false discovery rate of many tests."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.stats.distances import Counts
from treadle.stats.gamma import upper_gamma

MIN_EXPECTED = 5.0


def chi2_tail(x: float, degrees: int) -> float:
    """P(χ² ≥ x) by the regularised incomplete gamma function, to 1e-11 of its size.

    Args:
        x: The statistic.
        degrees: Degrees of freedom; with fewer than one nothing can vary and the result is 1.
    """
    return upper_gamma(degrees / 2, x / 2) if degrees >= 1 else 1.0


def homogeneity_test(first: Counts, second: Counts) -> float:
    """P-value of Pearson's χ² test that two samples come from one distribution.

    Its statistic over (1/N + 1/n) is what the population stability index tends to, but only this
    statistic keeps its level with few rows in a bin. Pool rare bins before.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other; no bin is empty in both.
    """
    return chi2_tail(homogeneity_statistic(first, second), len(first) - 1)


def homogeneity_statistic(first: Counts, second: Counts) -> float:
    """Pearson's two-sample χ² statistic; under homogeneity it has (bins - 1) degrees of freedom.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other; no bin is empty in both.
    """
    scale = math.sqrt(second.sum() / first.sum())
    return float(np.sum((first * scale - second / scale) ** 2 / (first + second)))


def pool_rare_bins(first: Counts, second: Counts) -> tuple[Counts, Counts]:
    """Make one bin of those too rare for the χ² approximation (Cochran 1954).

    A bin is rare when the smaller sample is expected to have fewer than five rows in it. Rare bins
    that are empty in both samples are dropped.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.

    Returns:
        The counts of both over the bins that are left.
    """
    share = (first + second) / (first.sum() + second.sum())
    rare = share * min(first.sum(), second.sum()) < MIN_EXPECTED
    if not rare.any():
        return first, second
    rest = np.array([first[rare].sum()]), np.array([second[rare].sum()])
    if rest[0][0] + rest[1][0] == 0:
        return first[~rare], second[~rare]
    return np.concatenate([first[~rare], rest[0]]), np.concatenate([second[~rare], rest[1]])


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> float:
    """Largest p-value that is rejected at a false discovery rate (Benjamini and Hochberg 1995).

    Args:
        p_values: One p-value per test, in any order.
        rate: The expected share of false rejections among all rejections, between 0 and 1.

    Returns:
        A p-value, all up to which are rejected; -1 when none is.
    """
    ordered = sorted(p_values)
    passed = [p for rank, p in enumerate(ordered, 1) if p <= rate * rank / len(ordered)]
    return max(passed, default=-1.0)


def adjusted_p_values(p_values: NDArray[Any]) -> NDArray[np.float64]:
    """P-values for several tests together (Benjamini and Hochberg 1995, in Yekutieli's form).

    A test is rejected at a false discovery rate where its adjusted p-value is not above the rate.
    With no effect in any test, the probability of any rejection is the rate (Simes 1986).

    Args:
        p_values: P-values (tests,), in any order.
    """
    order = np.argsort(p_values)[::-1]
    ranks = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum.accumulate(p_values[order] * len(p_values) / ranks)
    return np.minimum(adjusted, 1.0)
