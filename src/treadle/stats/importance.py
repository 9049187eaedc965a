"""How much each parameter alone says about a metric, over many runs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.stats.metrics import average_ranks

MOST_GROUPS = 8
"""Groups into which a parameter with more different numbers than that is cut."""


class Importance(NamedTuple):
    """What a parameter says about a metric.

    Attributes:
        share: Share of the variance of the metric's ranks that the parameter explains by itself,
            between 0 and 1, less what chance explains: epsilon squared of Kruskal and Wallis.
        correlation: Spearman's correlation of the parameter and the metric, between -1 and 1; None
            where the parameter is no number.
        groups: Number of groups of runs that were compared.
    """

    share: float
    correlation: float | None
    groups: int


def importance(values: Sequence[str | None], outcome: NDArray[np.float64]) -> Importance:
    """Measure how much a parameter alone says about a metric.

    Runs are grouped by the parameter's value; many different numbers are cut into up to eight
    groups of about equal size. Runs without the parameter are a group as well. Ranks make the
    measure independent of the metric's scale, and of single extreme values.

    Source: Kelley, "An unbiased correlation ratio measure", 1935, on the ranks of Kruskal and
    Wallis, 1952.

    Args:
        values: The parameter's value in each run as text (runs,); None where it has none.
        outcome: The metric's value in each run (runs,), without NaN.
    """
    if not values:
        return Importance(0.0, None, 0)
    numbers = np.array([_number(value) for value in values], dtype=float)
    numeric = bool(np.all(np.isfinite(numbers) | np.array([one is None for one in values])))
    groups = _groups(values, numbers, numeric=numeric)
    ranks = average_ranks(outcome)
    count = int(groups.max(initial=-1)) + 1
    share = _explained(ranks, groups, count)
    given = np.isfinite(numbers)
    related = _correlation(average_ranks(numbers[given]), average_ranks(outcome[given]))
    return Importance(share, related if numeric else None, count)


def _explained(ranks: NDArray[np.float64], groups: NDArray[np.int64], count: int) -> float:
    total = float(((ranks - ranks.mean()) ** 2).sum()) if len(ranks) else 0.0
    if total == 0 or count < 2 or len(ranks) <= count:
        return 0.0
    sizes = np.bincount(groups, minlength=count)
    means = np.bincount(groups, weights=ranks, minlength=count) / sizes
    within = float(((ranks - means[groups]) ** 2).sum())
    share = 1 - (within / (len(ranks) - count)) / (total / (len(ranks) - 1))
    return min(max(share, 0.0), 1.0)


def _groups(
    values: Sequence[str | None], numbers: NDArray[np.float64], *, numeric: bool
) -> NDArray[np.int64]:
    """The group of each run, from 0."""
    given = np.isfinite(numbers)
    if numeric and len(np.unique(numbers[given])) > MOST_GROUPS:
        edges = np.quantile(numbers[given], np.arange(1, MOST_GROUPS) / MOST_GROUPS)
        kinds = np.where(given, np.searchsorted(edges, numbers, side="right"), MOST_GROUPS)
        return np.unique(kinds, return_inverse=True)[1].astype(np.int64)
    texts = np.array(["" if value is None else f"={value}" for value in values], dtype=object)
    return np.unique(texts.astype(str), return_inverse=True)[1].astype(np.int64)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _number(value: str | None) -> float:
    try:
        number = math.nan if value is None else float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
