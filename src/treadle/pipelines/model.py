"""Types and events of pipelines: a run, its steps, and what a step's job reports."""

from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.pipelines.step import StepPlan
from treadle.ports.sandbox import Allowance

StepState = Literal["waiting", "running", "succeeded", "failed", "skipped"]
PipelineState = Literal["running", "succeeded", "failed", "cancelled"]
OutputKind = Literal["table", "model", "value", "array", "file", "list", "tables"]


class StepRun(Entity):
    """One step of a pipeline run.

    Attributes:
        name: Name of the step.
        state: State of the step.
        job: Id of the job that runs it, or None.
        key: Digest of all that decides the output; None before the step starts.
        output: Digest of the stored output; None before the step has succeeded.
        kind: What the output is; None before the step has succeeded.
        cached: Whether an earlier run had made the output.
        seconds: How long the step took, in seconds; 0 when its output was cached.
        error: Why the step failed, or its last try did, or None.
        tries: How many of its tries have failed.
        retry_at: Time before which a step that has failed is not tried again, or None.
        part_of: Name of the mapped step whose call for one element this is, or None.
    """

    name: str
    state: StepState
    job: str | None
    key: str | None
    output: str | None
    kind: OutputKind | None
    cached: bool
    seconds: float
    error: str | None
    tries: int = 0
    retry_at: datetime | None = None
    part_of: str | None = None


class PipelineRun(Entity):
    """One run of a project's steps, over one version of its code and of each dataset.

    Attributes:
        id: Id of the run, ``pipe_...``.
        project: Project of the run.
        code: Digest of the stored code.
        file: Path of the pipeline file within the code.
        datasets: Digest of a dataset's version by the dataset's name.
        parameters: Values of pipeline parameters by name.
        step_timeout_seconds: Longest duration of one step, in seconds.
        allowance: What the steps may use.
        plan: Steps in the order in which they can run.
        asof: The time that steps receive as ``asof``.
        state: State of the run.
        error: Why the run failed or ended early, or None.
        started_at: Time at which the run started.
        ended_at: Time at which the run ended, or None.
        actor: User or program in whose name the steps run.
        cause: Number of the event that started the run.
        steps: State of each step, in the order of the plan.
        parts: State of each call of mapped steps, as ``NAME[0]``, ``NAME[1]``; in lists of runs
            they are left out.
    """

    id: str
    project: str
    code: str
    file: str
    datasets: dict[str, str]
    parameters: dict[str, Any]
    step_timeout_seconds: float
    allowance: Allowance
    plan: list[StepPlan]
    asof: datetime
    state: PipelineState
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    actor: str
    cause: int | None
    steps: list[StepRun]
    parts: list[StepRun] = []

    def parts_of(self, name: str) -> list[StepRun]:
        """The calls of a mapped step, one for each element that it has begun with.

        Args:
            name: Name of the step.
        """
        return [part for part in self.parts if part.part_of == name]

    def planned(self, name: str) -> StepPlan:
        """The step of a name as it was planned.

        Args:
            name: Name of the step.
        """
        return next(one for one in self.plan if one.name == name)

    def step(self, name: str) -> StepRun | None:
        """The step of a name, or None.

        Args:
            name: Name of the step.
        """
        return next((step for step in self.steps if step.name == name), None)


class StepResult(Entity):
    """What the job of a step reports.

    Attributes:
        output: Digest of the stored output.
        kind: What the output is.
        seconds: How long the step took, in seconds.
    """

    output: str
    kind: OutputKind
    seconds: float


class PipelineStarted(Event):
    """A pipeline run started."""

    pipeline: str
    project: str
    code: str
    datasets: dict[str, str]

    @property
    def subject(self) -> str:
        return f"pipeline:{self.pipeline}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"code:{self.code}", *(f"data:{digest}" for digest in self.datasets.values()))


class PipelineEnded(Event):
    """A pipeline run has succeeded, failed or been cancelled."""

    pipeline: str
    project: str
    state: PipelineState
    error: str | None = None

    @property
    def subject(self) -> str:
        return f"pipeline:{self.pipeline}"
