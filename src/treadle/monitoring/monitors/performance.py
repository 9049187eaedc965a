"""Are answers as right as is required, by the labels that have come?"""

import math

from treadle.ports.monitor import Bound, Context, Finding, Needs, Trigger
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
        how = f"is {{}} on {len(context.truth)} labelled answers"
        return [
            held_against(requirement, interval, context, how, trigger="missed requirement")
            for requirement, interval in measured
            if math.isfinite(interval.value)
        ]


def held_against(
    requirement: Bound,
    measured: Estimate,
    context: Context,
    how: str,
    trigger: Trigger | None = None,
) -> Finding:
    """Hold a metric with its interval against a requirement, which the whole interval may miss.

    Args:
        requirement: The requirement.
        measured: The metric, measured or estimated.
        context: The window.
        how: Where the number comes from, in words around ``{}``.
        trigger: What a miss may set off.
    """
    number = f"{measured.value:.4g} [{measured.low:.4g}, {measured.high:.4g}]"
    return Finding(
        name=requirement.id,
        subject=requirement.metric,
        value=measured.value,
        low=measured.low,
        high=measured.high,
        threshold=requirement.at_most if requirement.at_least is None else requirement.at_least,
        since=context.window.start,
        raised=not (requirement.met_by(measured.low) or requirement.met_by(measured.high)),
        message=f"{requirement.metric} {how.format(number)}; required is {requirement.bound}.",
        trigger=trigger,
    )
