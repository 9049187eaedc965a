"""Judges columns that are counted already: by evidence over all of them, and by effect."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from treadle.data.pairs import Pair
from treadle.stats.distances import population_stability_index
from treadle.stats.homogeneity import homogeneity
from treadle.stats.hypothesis import adjusted_p_values, homogeneity_statistic, pool_rare_bins

FALSE_ALARMS = 0.05
"""How often data that have not moved are called drifted, over all columns together."""
EFFECT = 0.1
"""The smallest population stability index that counts as drift."""


class Judged(NamedTuple):
    """What is known of a column.

    Attributes:
        p: P-value that both samples come from one distribution.
        adjusted_p: The p-value over all columns, by Benjamini and Hochberg.
        psi: The population stability index over the cells that are not rare.
        effect: The index without what chance alone gives on average; not below 0.
        chi2: Pearson's statistic over the same cells.
        drifted: Whether there is evidence of a large enough effect.
    """

    p: float
    adjusted_p: float
    psi: float
    effect: float
    chi2: float
    drifted: bool


def judge(pairs: Mapping[str, Pair], *, false_alarms: float, effect: float) -> dict[str, Judged]:
    """Judge columns.

    A column in which nothing can differ, because all rows are in one cell, is no test and makes
    the others' p-values no larger.

    Args:
        pairs: Both samples' counts by column.
        false_alarms: The probability that any column is called drifted where none has moved.
        effect: The smallest effect that counts as drift.
    """
    if not pairs:
        return {}
    width = max(len(pair.first) for pair in pairs.values())
    first, second, ordered = (np.zeros((len(pairs), width)) for _ in range(3))
    for row, pair in enumerate(pairs.values()):
        first[row, : len(pair.first)] = pair.first
        second[row, : len(pair.second)] = pair.second
        ordered[row, : pair.ordered] = 1
    evidence = homogeneity(first, second, ordered)
    is_test = evidence.tests > 0
    adjusted = np.ones(len(pairs))
    adjusted[is_test] = adjusted_p_values(evidence.p[is_test])
    return {
        name: _judged(pair, float(p), float(adjusted_p), false_alarms, effect)
        for (name, pair), p, adjusted_p in zip(pairs.items(), evidence.p, adjusted, strict=True)
    }


def _judged(pair: Pair, p: float, adjusted_p: float, false_alarms: float, effect: float) -> Judged:
    psi = found = chi2 = 0.0
    if pair.first.sum() and pair.second.sum():
        first, second = pool_rare_bins(pair.first.astype(float), pair.second.astype(float))
        psi = population_stability_index(first, second)
        by_chance = (len(first) - 1) * (1 / first.sum() + 1 / second.sum())
        found, chi2 = max(0.0, float(psi - by_chance)), homogeneity_statistic(first, second)
    return Judged(
        p, adjusted_p, psi, found, chi2, bool(adjusted_p <= false_alarms and found >= effect)
    )
