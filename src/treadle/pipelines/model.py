from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.pipelines.step import StepPlan

StepState = Literal["waiting", "running", "succeeded", "failed"]
PipelineState = Literal["running", "succeeded", "failed", "cancelled"]
OutputKind = Literal["table", "model", "value"]


class StepRun(Entity):
    """One step of a pipeline run. ``output`` is the digest of a tree; ``cached`` when an earlier run had made it."""

    name: str
    state: StepState
    job: str | None
    key: str | None
    output: str | None
    kind: OutputKind | None
    cached: bool
    seconds: float
    error: str | None


class PipelineRun(Entity):
    """One run of a project's steps, over one version of its code and of each dataset."""

    id: str
    project: str
    code: str
    file: str
    datasets: dict[str, str]
    parameters: dict[str, Any]
    step_timeout_seconds: float
    plan: list[StepPlan]
    asof: datetime
    state: PipelineState
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    actor: str
    cause: int | None
    steps: list[StepRun]

    def step(self, name: str) -> StepRun | None:
        return next((step for step in self.steps if step.name == name), None)


class StepResult(Entity):
    """What a step's job reports."""

    output: str
    kind: OutputKind
    seconds: float


class PipelineStarted(Event):
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
    pipeline: str
    project: str
    state: PipelineState
    error: str | None = None

    @property
    def subject(self) -> str:
        return f"pipeline:{self.pipeline}"
