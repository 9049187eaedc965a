"""Are answers as right as is required, by the labels that have come?"""

import math

from treadle.ports.monitor import Bound, Context, Finding, Needs
from treadle.stats.intervals import Estimate, estimate
from treadle.stats.metrics import measures


class Performance:
    """Holds metrics over labelled answers against the requirements.

    A requirement is missed when the metric's whole 95 % interval misses it. A window with fewer
    labels than ``min_labels`` says nothing, nor does a metric that these labels cannot show.
    """

    name = "performance"
    needs = Needs(labels=True)

    def look(self, context: Context) -> list[Finding]:
        """Measure the metric of every requirement that labels can show.

        Args:
            context: The window, with its labelled answers.
        """
        if len(context.truth) < context.policy.min_labels:
            return []
        measured = [
            (requirement, estimate(requirement.metric, context.truth, context.score))
            for requirement in context.requirements
            if measures(requirement.metric, context.score)
        ]
        return [
            _finding(requirement, interval, context)
            for requirement, interval in measured
            if math.isfinite(interval.value)
        ]


def _finding(requirement: Bound, measured: Estimate, context: Context) -> Finding:
    met = requirement.met_by(measured.low) or requirement.met_by(measured.high)
    return Finding(
        name=requirement.id,
        subject=requirement.metric,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        threshold=requirement.at_most if requirement.at_least is None else requirement.at_least,
        since=context.window.start,
        raised=not met,
        message=(
            f"{requirement.metric} is {measured.value:.4g} "
            f"[{measured.low:.4g}, {measured.high:.4g}] on {len(context.truth)} labelled answers; "
            f"required is {requirement.bound}."
        ),
        trigger="missed requirement",
    )
