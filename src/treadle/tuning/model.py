"""Types and events of tuning."""

from datetime import datetime
from typing import Any

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.ports.tuner import Bound, SearchPlan, TrialState
from treadle.tracking.model import Status


class TrialSource(Entity):
    """What a project's trials train: the same code and data for all trials of a study.

    Attributes:
        code: Digest of the stored tree of code.
        file: Path of the pipeline file within it.
        datasets: Digests of dataset versions by name.
        parameters: Values of the parameters that are not searched over.
    """

    code: str
    file: str
    datasets: dict[str, str]
    parameters: dict[str, Any] = {}


class StudyPlan(Entity):
    """What a study searches for, and how long.

    Attributes:
        search: The space, and how it is searched.
        metrics: Name of the metric of each objective.
        constraints: Limits by what is measured; a trial beyond one is never the best.
        trials: Largest number of trials; 0 for no limit.
        source: What trials train; None where a program brings its own objective.
    """

    search: SearchPlan
    metrics: list[str]
    constraints: dict[str, Bound] = {}
    trials: int = 0
    source: TrialSource | None = None


class Study(Entity):
    """A search for hyper-parameters.

    Attributes:
        name: Name of the study, unique in the home.
        project: Its project.
        run: Id of its tracked run, under which those of its trials are.
        plan: What it searches for.
        started_at: When it began.
        counts: Number of trials by state; states without trials are absent.
        best: Numbers of the best trials: one, or with several objectives those that no other trial
            surpasses in all of them.
        best_values: Values of the objectives of those trials, by metric, in the same order.
        status: Whether its run is running, or how that has ended.
    """

    name: str
    project: str
    run: str
    plan: StudyPlan
    started_at: datetime
    counts: dict[str, int]
    best: list[int]
    best_values: list[dict[str, float]] = []
    status: Status = "running"


class Trial(Entity):
    """One trial of a study.

    Attributes:
        study: Name of the study.
        number: Place in the study, from 0 on.
        state: State of the trial.
        params: Values by parameter.
        metrics: What was measured: the objectives, and what constraints limit.
        feasible: Whether it meets all constraints, as far as they were measured.
        run: Id of its tracked run.
        attempt: How often it was begun: again after an interruption, and once after a worker died.
        error: Why it failed, or None.
        started_at: When it was first begun.
        ended_at: When it ended, or None.
    """

    study: str
    number: int
    state: TrialState
    params: dict[str, Any]
    metrics: dict[str, float]
    feasible: bool
    run: str
    attempt: int
    error: str | None
    started_at: datetime | None
    ended_at: datetime | None


class TrialValues(Entity):
    """What a finished trial has reached, and the best that was reached until then.

    Attributes:
        number: Place of the trial in its study, from 0 on.
        values: Values of the objectives by metric.
        feasible: Whether the trial meets all constraints.
        best: The best value until then, of one objective; None with several, and while no trial
            meets all constraints.
    """

    number: int
    values: dict[str, float]
    feasible: bool
    best: float | None = None


class StudyStarted(Event):
    """A search for hyper-parameters began."""

    study: str
    project: str
    run: str

    @property
    def subject(self) -> str:
        return f"study:{self.study}"


class TrialEnded(Event):
    """A trial of a study finished, was pruned, or failed."""

    study: str
    project: str
    run: str
    number: int
    state: TrialState

    @property
    def subject(self) -> str:
        return f"run:{self.run}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"study:{self.study}",)
