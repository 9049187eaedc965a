"""Has a column's distribution moved? By effect and by evidence, corrected over the columns."""

from collections.abc import Mapping

import numpy as np

from treadle.data.profile import ColumnProfile as Profile
from treadle.monitoring.model import ColumnDrift
from treadle.stats.distances import population_stability_index
from treadle.stats.hypothesis import benjamini_hochberg, homogeneity_test, pool_rare_bins

FALSE_DISCOVERY_RATE = 0.05


def compare(
    reference: Mapping[str, Profile], current: Mapping[str, Profile], *, effect: float
) -> list[ColumnDrift]:
    """Compare columns with what they were; those without rows on either side are left out.

    Args:
        reference: Column → its counts in the training data.
        current: Column → its counts now, over the same bins.
        effect: The smallest population stability index that counts as drift.

    Returns:
        Every column's index and p-value. Drifted are those that the procedure of Benjamini and
        Hochberg rejects at a false discovery rate of 5 % and whose index reaches ``effect``.
    """
    columns = [
        column
        for column in reference
        if column in current and current[column].rows and reference[column].rows
    ]
    tested = [(column, *psi_test(reference[column], current[column])) for column in columns]
    limit = benjamini_hochberg([p for _, _, p in tested], FALSE_DISCOVERY_RATE)
    return [
        ColumnDrift(column=column, psi=round(psi, 5), p=p, drifted=p <= limit and psi >= effect)
        for column, psi, p in tested
    ]


def psi_test(reference: Profile, current: Profile) -> tuple[float, float]:
    """A column's population stability index, and how probable so large a move is by chance.

    Bins too rare for the χ² approximation are pooled before.

    Args:
        reference: Counts in the training data.
        current: Counts now, over the same bins.

    Returns:
        The index, and the p-value of the χ² test of homogeneity.
    """
    first, second = pool_rare_bins(
        np.array(reference.counts, dtype=float), np.array(current.counts, dtype=float)
    )
    return population_stability_index(first, second), homogeneity_test(first, second)
