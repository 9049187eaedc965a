"""Have inputs or predictions moved away from the training data? By effect and by evidence."""

from collections.abc import Mapping

import numpy as np

from treadle.monitoring.model import ColumnDrift
from treadle.ports.monitor import Context, Finding, Needs, Profile
from treadle.serving.counting import PREDICTION
from treadle.stats.distances import population_stability_index
from treadle.stats.hypothesis import benjamini_hochberg, homogeneity_test, pool_rare_bins

FALSE_DISCOVERY_RATE = 0.05
MIN_ROWS = 100


class Drift:
    """Compares every input column, and the predictions, with the training data.

    A window in which the champion answered fewer than 100 rows says nothing.
    """

    name = "drift"
    needs = Needs(reference=True)

    def look(self, context: Context) -> list[Finding]:
        """Measure every column's population stability index; what has drifted is raised.

        The columns share one false discovery rate; the predictions are a test of their own.

        Args:
            context: The window, with the reference.
        """
        if context.champion_rows < MIN_ROWS:
            return []
        effect = context.policy.effect
        columns = compare(context.reference, context.current, effect=effect)
        if context.reference_prediction and context.current_prediction:
            columns += compare(
                {PREDICTION: context.reference_prediction},
                {PREDICTION: context.current_prediction},
                effect=effect,
            )
        return [_finding(column, context) for column in columns]


def _finding(column: ColumnDrift, context: Context) -> Finding:
    what = "The predictions have" if column.column == PREDICTION else f"'{column.column}' has"
    moved = "moved" if column.drifted else "not moved"
    return Finding(
        name="psi",
        subject=column.column,
        value=column.psi,
        threshold=context.policy.effect,
        p=column.p,
        since=context.window.start,
        raised=column.drifted,
        message=f"{what} {moved}: PSI {column.psi:.3g}, p {column.p:.3g}.",
        trigger="drift",
    )


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
