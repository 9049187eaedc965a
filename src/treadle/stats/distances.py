"""Distances between two samples that are counted over the same bins."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[Any]


def population_stability_index(first: Counts, second: Counts) -> float:
    """Population stability index: Jeffreys' divergence (1946) of two samples over common bins.

    Half a count is added to every bin, so that an empty bin gives no infinity.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.

    Returns:
        0 for equal shares, and more the further apart they are; symmetric.
    """
    smoothed_first, smoothed_second = first + 0.5, second + 0.5
    p, q = smoothed_first / smoothed_first.sum(), smoothed_second / smoothed_second.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def kolmogorov_smirnov(first: Counts, second: Counts) -> float:
    """Largest difference of two distribution functions (Kolmogorov 1933, Smirnov 1948).

    Args:
        first: Counts (bins,) of one sample, in the bins' order.
        second: Counts (bins,) of the other.

    Returns:
        A distance from 0 to 1. A sample without rows counts as a distribution function of 0.
    """
    first_cdf = np.cumsum(first) / max(1, first.sum())
    second_cdf = np.cumsum(second) / max(1, second.sum())
    return float(np.max(np.abs(first_cdf - second_cdf)))


def jensen_shannon(first: Counts, second: Counts) -> float:
    """Jensen-Shannon distance (Endres and Schindelin 2003) of two samples over common bins.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.

    Returns:
        The root of the divergence to base 2: 0 for equal shares, 1 for disjoint ones. A sample
        without rows has distance 0 from another one without rows, else 1.
    """
    if not first.sum() or not second.sum():
        return float(first.sum() != second.sum())
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    divergence = sum(
        float(np.sum(one[one > 0] * np.log2(one[one > 0] / middle[one > 0]))) for one in (p, q)
    )
    return float(np.sqrt(min(1.0, max(0.0, divergence / 2))))
