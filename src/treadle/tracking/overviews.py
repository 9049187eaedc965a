"""What is told of many runs at once."""

from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.tracking.model import Status


class Activity(Entity):
    """How much happens in an experiment.

    Attributes:
        experiment: Number of the experiment.
        project: Project that it belongs to.
        runs: Number of its runs, without deleted ones.
        running: How many of them have not ended.
        failed: How many of them have failed.
        last_at: When the last of them began.
    """

    experiment: int
    project: str
    runs: int
    running: int
    failed: int
    last_at: datetime


class RunKeys(Entity):
    """What can be asked for of the runs of experiments.

    Attributes:
        metrics: Names of metrics, in order.
        params: Names of parameters, in order.
        tags: Names of tags, in order.
    """

    metrics: list[str]
    params: list[str]
    tags: list[str]


class RunTable(Entity):
    """A page of runs by columns; each list has one item for each run.

    Attributes:
        ids: Ids of the runs, in the order that was asked for.
        experiments: Numbers of their experiments.
        names: Names of the runs.
        users: Who ran them.
        statuses: Whether they run, or how they ended.
        started_at: When they began.
        ended_at: When they ended, or null.
        columns: Chosen fields by their text as it was given; null where a run has none, or where a
            number is not finite.
        next: Asks for the page after this one; empty on the last.
    """

    ids: list[str]
    experiments: list[int]
    names: list[str]
    users: list[str]
    statuses: list[Status]
    started_at: list[datetime]
    ended_at: list[datetime | None]
    columns: dict[str, list[float | str | None]]
    next: str = ""


class ParameterImportance(Entity):
    """What a parameter alone says about a metric.

    Attributes:
        param: Name of the parameter.
        share: Share of the variance of the metric's ranks that it explains, less what chance
            explains, between 0 and 1.
        correlation: Rank correlation with the metric, between -1 and 1; None where the parameter
            is no number.
        runs: Number of runs that were compared.
    """

    param: str
    share: float
    correlation: float | None
    runs: int
