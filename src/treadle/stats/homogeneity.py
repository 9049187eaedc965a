"""P-values that two samples come from one distribution, exact or accurate at every size.

Both samples are counted over the same cells. All tests are conditional on what the two samples
hold together: with no difference between them, the second sample is a random draw without
replacement from both, whatever their distribution is. So a test keeps its level although the cells
were chosen from the values, as long as they were chosen from both samples as one.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.stats.gamma import upper_gamma

MIN_EXPECTED = 5.0
"""Rows that the smaller sample must be expected to have in a cell, or the cell is rare."""
LARGEST_SKEW = 0.1
"""Skewness of the rank statistic up to which its distribution counts as normal."""
SKEWED_BELOW = 100.0
"""Expected rows in the emptiest cell from which χ² is as good as its first two moments say."""
_ALLOWANCE = 0.15  # for the third moment: p of 0.0005 counts as 0.0011; see decision 34
_NORMAL_FROM = 1000.0  # expected rows in each of four cells from which no exact tail is summed
_NEGLIGIBLE = 1e-17

Tables = NDArray[Any]


class Evidence(NamedTuple):
    """P-values of the tests of several pairs of samples, each of shape (pairs,).

    Attributes:
        p: The p-value of the pair: the smallest of its tests by Bonferroni's inequality.
        tests: How many tests there were; none where all rows share one cell.
    """

    p: NDArray[np.float64]
    tests: NDArray[np.int64]


def homogeneity(first: Tables, second: Tables, ordered: Tables) -> Evidence:
    """Test pairs of samples for any difference.

    Up to three tests share a pair's p-value, so that its level holds for every kind of change:

    - Pearson's χ² over the cells that are not rare, with its exact conditional mean and variance;
      of two cells Fisher's exact test.
    - The rank-sum test of Wilcoxon over the ordered cells, which sees shifts far smaller than χ²
      does, where its distribution is close to normal.
    - Fisher's exact test of the rare cells together, where together they are rare still: one
      row of a category that was never seen may be chance, five may not.

    Args:
        first: Counts (pairs, cells) of the first samples.
        second: Counts (pairs, cells) of the second samples.
        ordered: Whether a cell has its place in an order, (pairs, cells); the order is that of the
            cells.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        common, rest = _pooled(first, second)
        p_values = np.stack(
            [_of_common(*common), _of_ranks(first * ordered, second * ordered), _of_rest(*rest)]
        )
    tests = np.isfinite(p_values).sum(axis=0)
    smallest = np.where(np.isfinite(p_values), p_values, 1.0).min(axis=0)
    return Evidence(np.minimum(1.0, smallest * np.maximum(1, tests)), tests)


def _pooled(
    first: Tables, second: Tables
) -> tuple[tuple[Tables, Tables], tuple[Tables, Tables, Tables, Tables]]:
    """The cells that are not rare, and the rare ones as one beside the totals.

    Rare cells that are not rare together are one cell among the others.
    """
    totals = first.sum(axis=1), second.sum(axis=1)
    share = np.minimum(*totals) / np.maximum(1.0, totals[0] + totals[1])
    rare = (first + second) * share[:, None] < MIN_EXPECTED
    rest = (first * rare).sum(axis=1), (second * rare).sum(axis=1)
    is_rare = (rest[0] + rest[1]) * share < MIN_EXPECTED
    common = tuple(
        np.column_stack([np.where(rare, 0.0, counts), np.where(is_rare, 0.0, of_rest)])
        for counts, of_rest in zip((first, second), rest, strict=True)
    )
    left = [np.where(is_rare, one, 0.0) for one in rest]
    return (common[0], common[1]), (left[0], left[1], totals[0] - left[0], totals[1] - left[1])


def _of_common(first: Tables, second: Tables) -> Tables:
    """Pearson's χ² of homogeneity; NaN with fewer than two cells."""
    n, m = first.sum(axis=1), second.sum(axis=1)
    both = first + second
    total = n + m
    used = both > 0
    cells = used.sum(axis=1)
    expected = both * (m / total)[:, None]
    variance = expected * (n / total)[:, None]
    chi2 = np.where(used, (second - expected) ** 2 / np.where(used, variance, 1.0), 0.0).sum(axis=1)
    mean = total / (total - 1) * (cells - 1)
    spread = _chi2_variance(n, m, total, cells, np.where(used, 1 / both, 0.0).sum(axis=1))
    p = np.full(len(n), np.nan)
    testable = (cells >= 2) & (n > 0) & (m > 0)
    least = np.where(used, both, np.inf).min(axis=1) * np.minimum(n, m) / total
    for row in np.flatnonzero(testable & (cells > 2)):
        ratio = mean[row] / spread[row]
        tail = upper_gamma(mean[row] * ratio, chi2[row] * ratio)
        p[row] = _allowed(tail) if least[row] < SKEWED_BELOW else tail
    four = np.flatnonzero(testable & (cells == 2))
    if len(four):
        place = used[four].argmax(axis=1)
        one, other = first[four, place], second[four, place]
        p[four] = fisher(one, other, n[four] - one, m[four] - other)
    return p


def _allowed(p: float) -> float:
    """A p-value with an allowance for a tail that is longer than that of the gamma distribution.

    With few rows in a cell, and samples of different sizes, 1.8 times as many p-values as should be
    are below 0.0005.
    """
    return float(p ** (1 - _ALLOWANCE) * 0.1**_ALLOWANCE) if 0 < p < 0.1 else p


def _chi2_variance(n: Tables, m: Tables, total: Tables, cells: Tables, inverse: Tables) -> Tables:
    """The conditional variance of χ² (Haldane 1940; Lewis, Saunders and Westcott 1984)."""
    rows = (total - 2) / (total - 1)
    columns = (total - cells) * (cells - 1) / (total - 1)
    of_rows = (total / n + total / m - 4) / (total - 2)
    of_columns = (total * inverse - cells**2) / (total - 2)
    both = 2 * total / (total - 3) * (rows - of_rows) * (columns - of_columns)
    return np.asarray(both + total**2 / (total - 1) * of_rows * of_columns)


def _of_ranks(first: Tables, second: Tables) -> Tables:
    """Wilcoxon's rank-sum test with ties; NaN where it would repeat χ², or is far from normal."""
    n, m = first.sum(axis=1), second.sum(axis=1)
    both = first + second
    total = n + m
    ranks = np.cumsum(both, axis=1) - both / 2
    ranks = (ranks - total[:, None] / 2) / np.maximum(total, 1.0)[:, None]
    squares = (both * ranks**2).sum(axis=1) / total
    variance = squares * n * m / (total - 1)
    z = (second * ranks).sum(axis=1) / np.sqrt(variance)
    cubes = (both * ranks**3).sum(axis=1) / total / squares**1.5
    skew = cubes * (n - m) / (total - 2) * np.sqrt((total - 1) / (n * m))
    usable = ((both > 0).sum(axis=1) > 2) & (np.abs(skew) <= LARGEST_SKEW)
    usable &= np.minimum(n, m) >= 2 * MIN_EXPECTED
    return np.array(
        [
            math.erfc(abs(one) / math.sqrt(2)) if ok else math.nan
            for one, ok in zip(z.tolist(), usable.tolist(), strict=True)
        ]
    )


def _of_rest(first: Tables, second: Tables, others: Tables, second_others: Tables) -> Tables:
    """Fisher's exact test of the rare cells; NaN where there are none, or nothing else."""
    p = np.full(len(first), np.nan)
    used = np.flatnonzero((first + second > 0) & (others + second_others > 0))
    used = used[(first + others > 0)[used] & (second + second_others > 0)[used]]
    p[used] = fisher(first[used], second[used], others[used], second_others[used])
    return p


def fisher(a: Tables, b: Tables, c: Tables, d: Tables) -> Tables:
    """Two-sided p-values of Fisher's exact test (1935): twice the tail.

    Args:
        a: Counts (pairs,) of the first sample in the first cell.
        b: Those of the second sample in it.
        c: Those of the first sample in the second cell.
        d: Those of the second sample in it.
    """
    a, b, c, d = (np.asarray(one, dtype=np.float64) for one in (a, b, c, d))
    total = a + b + c + d
    expected = np.minimum(a + b, c + d) * np.minimum(a + c, b + d) / total
    large = expected >= _NORMAL_FROM
    p = np.ones(len(a))
    if large.any():
        spread = np.sqrt((a + b) * (c + d) * (a + c) * (b + d) / (total**2 * (total - 1)))
        away = np.maximum(0.0, np.abs(b - (a + b) * (b + d) / total) - 0.5)
        z = away[large] / spread[large] / math.sqrt(2)
        p[large] = [math.erfc(one) for one in z]
    small = np.flatnonzero(~large)
    if len(small):
        a, b, c, d = (one[small] for one in (a, b, c, d))
        above = b * (a + b + c + d) >= (a + b) * (b + d)  # else the same table with columns swapped
        swapped = [np.where(above, x, y) for x, y in ((a, b), (b, a), (c, d), (d, c))]
        p[small] = np.minimum(1.0, 2 * _tail(*swapped))
    return p


def _tail(a: Tables, b: Tables, c: Tables, d: Tables) -> Tables:
    """P(B ≥ b) of the hypergeometric distribution, for b from its mean on."""
    first = np.exp(
        [
            sum(map(math.lgamma, (w + x + 1, y + z + 1, w + y + 1, x + z + 1)))
            - sum(map(math.lgamma, (w + x + y + z + 1, w + 1, x + 1, y + 1, z + 1)))
            for w, x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), d.tolist(), strict=True)
        ]
    )
    term, total = np.ones(len(a)), np.ones(len(a))
    a, b, c, d = a.copy(), b.copy(), c.copy(), d.copy()
    while (going := term > total * _NEGLIGIBLE).any():
        term = np.where(going, term * a * d / ((b + 1) * (c + 1)), 0.0)
        total += term
        a, b, c, d = a - 1, b + 1, c + 1, d - 1
    return np.asarray(np.minimum(1.0, first * total))
