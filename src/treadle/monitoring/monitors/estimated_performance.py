"""Are answers likely as right as is required, before any label has come?"""

import math

from treadle.evaluation.calibration import side_by_side
from treadle.ports.monitor import Bound, Context, Finding, Needs
from treadle.stats.expected import Expectation, can_be_expected
from treadle.stats.expected_intervals import interval
from treadle.stats.intervals import Estimate
from treadle.stats.metrics import predicted_class

MIN_ROWS = 100


class EstimatedPerformance:
    """Estimates metrics by the calibrated confidence of the champion's answers (CBPE).

    A requirement is likely missed when the estimate's whole 95 % interval misses it. That sets
    nothing off: the estimate holds only while scores mean what they meant in the version's test
    set, so people look first. A window in which the champion answered fewer than 100 rows says
    nothing, nor does a version that was not judged here on rows of known truth.
    """

    name = "estimated-performance"
    needs = Needs(calibration=True)

    def look(self, context: Context) -> list[Finding]:
        """Estimate the metric of every requirement that probabilities can show.

        Args:
            context: The window, with the champion's answers and what they are worth.
        """
        calibration, scores = context.calibration, context.outputs.astype(float)
        if calibration is None or len(scores) < MIN_ROWS:
            return []
        rows = Expectation(
            calibration.chances(scores), side_by_side(scores), predicted_class(scores)
        )
        estimated = [
            (requirement, interval(requirement.metric, expected, rows, calibration.rows))
            for requirement in context.requirements
            if can_be_expected(requirement.metric, rows.chances.shape[1])
            and math.isfinite((expected := rows.of(requirement.metric)).value)
        ]
        return [_finding(*each, context) for each in estimated]


def _finding(requirement: Bound, estimate: Estimate, context: Context) -> Finding:
    met = requirement.met_by(estimate.low) or requirement.met_by(estimate.high)
    return Finding(
        name=requirement.id,
        subject=requirement.metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        threshold=requirement.at_most if requirement.at_least is None else requirement.at_least,
        since=context.window.start,
        raised=not met,
        message=(
            f"{requirement.metric} is estimated at {estimate.value:.4g} "
            f"[{estimate.low:.4g}, {estimate.high:.4g}] without labels, if scores still mean what "
            f"they meant in the test set; required is {requirement.bound}."
        ),
    )
