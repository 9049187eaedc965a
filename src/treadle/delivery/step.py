"""What a rollout's step asks of its newcomer."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from treadle.delivery.experiments import Experiment
from treadle.scope.model import Requirement
from treadle.stats.metrics import is_metric

ALPHA = 0.05
"""How often a newcomer as good as the champion is rolled back, over all of a rollout's gates."""


@dataclass(frozen=True)
class Step:
    """What a step asks of its newcomer, and when it is looked at.

    Attributes:
        newcomer: The role that is judged.
        share: The newcomer's part of the requests; ½ for a shadow, which sees them all too.
        started: When the step began.
        now: When it is looked at.
        hold: How long the step lasts at least.
        min_requests: Requests of the newcomer before it is passed.
        error_margin: How much more often, as a share of requests, it may fail; None for no margin.
        requirements: The project's requirements.
        min_labels: Labelled requests that quality is judged on.
        labels_due: When labels are due, from the step's start; None where they are not waited for.
        patience: How long after they are due labels are waited for.
        without_labels: What happens when they have not come by then.
        steps: Steps of the rollout in which something can be rolled back.
        max_shift: Allowed distance of the predictions' distributions, 0 to 1; None for no limit.
        max_disagreement: Allowed share of mirrored requests that a shadow answers differently.
        experiment: The experiment that the step is, if it is one.
    """

    newcomer: Literal["candidate", "shadow"]
    share: float
    started: datetime
    now: datetime
    hold: timedelta = timedelta()
    min_requests: int = 0
    error_margin: float | None = None
    requirements: list[Requirement] = field(default_factory=list)
    min_labels: int = 100
    labels_due: timedelta | None = None
    patience: timedelta = timedelta()
    without_labels: Literal["promote", "hold", "roll back"] = "hold"
    steps: int = 1
    max_shift: float | None = None
    max_disagreement: float | None = None
    experiment: Experiment | None = None

    @property
    def alpha(self) -> float:
        """What each gate may be wrong with, so that all of the rollout's stay within ALPHA."""
        optional = (self.max_shift, self.max_disagreement, self.experiment)
        gates = 2 + sum(gate is not None for gate in optional)
        gates += len(bounds_latency(self.requirements)) + len(measurable(self.requirements))
        return ALPHA / (gates * max(self.steps, 1))


def measurable(requirements: list[Requirement]) -> list[Requirement]:
    """The requirements that labelled requests can show.

    Args:
        requirements: Any requirements.
    """
    return [requirement for requirement in requirements if is_metric(requirement.metric)]


def bounds_latency(requirements: list[Requirement]) -> list[Requirement]:
    """The requirements that bound a latency's quantile from above.

    Args:
        requirements: Any requirements.
    """
    return [
        requirement
        for requirement in requirements
        if requirement.metric.startswith("latency_ms.p") and requirement.at_most is not None
    ]
