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
