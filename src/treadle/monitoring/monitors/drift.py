"""Have inputs or predictions moved away from the training data? By effect and by evidence."""

from collections.abc import Mapping

from treadle.data.pairs import Pair, pair_of_counts
from treadle.monitoring.judging import FALSE_ALARMS, judge
from treadle.monitoring.model import ColumnDrift
from treadle.ports.monitor import Context, Finding, Needs, Profile
from treadle.serving.counting import PREDICTION

FALSE_DISCOVERY_RATE = FALSE_ALARMS
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
        Every column's index and p-value, judged as ``treadle.drift`` judges them, with a false
        discovery rate of 5 %.
    """
    pairs = {
        column: _pair(reference[column], current[column])
        for column in reference
        if column in current and current[column].rows and reference[column].rows
    }
    judged = judge(pairs, false_alarms=FALSE_DISCOVERY_RATE, effect=effect)
    return [
        ColumnDrift(column=name, psi=round(found.psi, 5), p=found.p, drifted=found.drifted)
        for name, found in judged.items()
    ]


def psi_test(reference: Profile, current: Profile) -> tuple[float, float]:
    """A column's population stability index, and how probable so large a move is by chance.

    Args:
        reference: Counts in the training data.
        current: Counts now, over the same bins.

    Returns:
        The index over the bins that are not rare, and the p-value of homogeneity.
    """
    pairs = {PREDICTION: _pair(reference, current)}
    found = judge(pairs, false_alarms=FALSE_DISCOVERY_RATE, effect=0.0)[PREDICTION]
    return found.psi, found.p


def _pair(reference: Profile, current: Profile) -> Pair:
    return pair_of_counts(reference.counts, current.counts, reference.edges, reference.labels)
