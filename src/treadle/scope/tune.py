"""Types of ``[tune]`` in ``treadle.toml``, and what they cannot express."""

import math
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.ports.tuner import Bound, Direction, Space
from treadle.stats.families import EXAMPLES
from treadle.stats.metrics import METRICS, is_metric, lower_is_better

OF_PACKAGES = ("latency_ms", "size_mb")
"""What is measured of a trial's packaged model, beside metrics of labelled rows: the median time of
one row's answer here, and the size of its files."""


def _less_is_better(name: str) -> bool:
    return name in OF_PACKAGES or lower_is_better(name)


class TunePolicy(Entity):
    """Table ``[tune]``: how ``treadle tune`` searches for hyper-parameters.

    Attributes:
        space: Values that are tried, by pipeline parameter: a range such as ``{ low = 1e-4, high =
            1.0, log = true }``, whole numbers where no bound has a point, or a list of choices.
        metric: What is optimised, or several metrics; the first requirement's if empty.
        direction: What is better, or that of each metric; known for usual metrics if empty.
        constraint: Limits by what is measured, such as ``latency_ms = "<= 5"``; a trial beyond one
            is never the best.
        trials: Largest number of trials.
        seconds: Time after which no trial begins; 0 for no limit.
        workers: Number of processes that run trials.
        sampler: How values are chosen; ``cmaes`` needs the package cmaes.
        seed: Seed of the sampler.
    """

    space: Space
    metric: str | list[str] = ""
    direction: Literal["", "minimize", "maximize"] | list[Direction] = ""
    constraint: dict[str, str] = {}
    trials: int = 50
    seconds: float = 0.0
    workers: int = 2
    sampler: Literal["tpe", "random", "grid", "cmaes"] = "tpe"
    seed: int = 0

    @property
    def metrics(self) -> list[str]:
        """The metrics that are optimised; none where the first requirement's is."""
        given = [self.metric] if isinstance(self.metric, str) else self.metric
        return [name for name in given if name]

    def directions(self, metrics: list[str]) -> list[Direction]:
        """What is better, for each of some metrics.

        Args:
            metrics: The metrics that are optimised.

        Raises:
            Invalid: There are more or fewer directions than metrics.
        """
        if not self.direction:
            return ["minimize" if _less_is_better(name) else "maximize" for name in metrics]
        given = (
            [self.direction] * len(metrics) if isinstance(self.direction, str) else self.direction
        )
        if len(given) != len(metrics):
            raise Invalid(
                f"Field 'tune.direction': {len(metrics)} metrics have {len(given)} directions. "
                "Give one to each metric, or leave the field out."
            )
        return list(given)


def check_tune(policy: TunePolicy) -> None:
    """Check what the types of ``[tune]`` cannot express.

    Args:
        policy: The table.

    Raises:
        Invalid: A value is not allowed; the error names its field.
    """
    if not policy.space:
        raise Invalid("Field 'tune.space': there is no parameter to search over. Give one.")
    measurable = (*METRICS, *EXAMPLES, *OF_PACKAGES)
    for field, names in (("metric", policy.metrics), ("constraint", policy.constraint)):
        for name in names:
            if not (name in OF_PACKAGES or is_metric(name)):
                raise Invalid(
                    f"Field 'tune.{field}': nothing measures '{name}' of a trial."
                    f"{did_you_mean(name, measurable)} Use one of {', '.join(measurable)}."
                )
    for name, text in policy.constraint.items():
        Bound.read(text, f"tune.constraint.{name}")
    policy.directions(policy.metrics or [""])
    for field, value, least in (("trials", policy.trials, 1), ("workers", policy.workers, 1)):
        if value < least:
            raise Invalid(f"Field 'tune.{field}': {value} is less than {least}.")
    if not (policy.seconds >= 0 and math.isfinite(policy.seconds)):
        raise Invalid(f"Field 'tune.seconds': {policy.seconds} is no time.")
