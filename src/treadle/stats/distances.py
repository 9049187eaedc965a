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


def hellinger(first: Counts, second: Counts) -> float:
    """Hellinger distance of two samples over common bins, from 0 to 1.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.
    """
    roots = [np.sqrt(one / max(1, one.sum())) for one in (first, second)]
    return float(np.sqrt(np.sum((roots[0] - roots[1]) ** 2) / 2))


def l_infinity(first: Counts, second: Counts) -> float:
    """Largest difference of two samples' shares in a bin, from 0 to 1.

    Args:
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.
    """
    return float(np.max(np.abs(first / max(1, first.sum()) - second / max(1, second.sum()))))


def wasserstein_between(edges: Counts, first: Counts, second: Counts) -> float:
    """Wasserstein's first distance of what two samples hold between the outer edges.

    Within a bin the distribution functions count as straight lines.

    Args:
        edges: Edges (bins - 1,) between the bins, ascending and finite.
        first: Counts (bins,) of one sample.
        second: Counts (bins,) of the other.
    """
    if len(edges) < 2:
        return 0.0
    gaps = np.cumsum(first)[:-1] / max(1, first.sum())
    gaps = gaps - np.cumsum(second)[:-1] / max(1, second.sum())
    left, right = gaps[:-1], gaps[1:]
    crossing = left * right < 0
    apart = np.where(crossing, np.abs(left) + np.abs(right), 1.0)
    triangles = (left**2 + right**2) / (2 * apart)
    means = np.where(crossing, triangles, np.abs(left + right) / 2)
    return float(np.sum(means * np.diff(edges)))
