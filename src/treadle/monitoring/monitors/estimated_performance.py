"""Are answers likely as right as is required, before any label has come?"""

import math

from treadle.evaluation.calibration import side_by_side
from treadle.monitoring.monitors.performance import held_against
from treadle.ports.monitor import Context, Finding, Needs
from treadle.stats.expected import Expectation, can_be_expected
from treadle.stats.expected_intervals import interval
from treadle.stats.metrics import predicted_class

MIN_ROWS = 100
HOW = "is estimated at {} without labels, if scores still mean what they meant in the test set"


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
        return [held_against(*each, context, HOW) for each in estimated]
