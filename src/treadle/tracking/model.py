from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

Status = Literal["running", "finished", "failed"]


class Metric(Entity):
    """One measured value. ``step`` counts whatever the run counts: epochs, batches, days."""

    key: str
    value: float
    step: int = 0


class Point(Entity):
    step: int
    value: float
    at: datetime


class Artifact(Entity):
    path: str
    digest: str
    bytes: int


class Run(Entity):
    """One try. ``metrics`` holds the last value of each key."""

    id: str
    project: str
    name: str
    status: Status
    started_at: datetime
    ended_at: datetime | None
    params: dict[str, str]
    metrics: dict[str, float]


class RunStarted(Event):
    run: str
    project: str
    name: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"


class RunFinished(Event):
    run: str
    project: str
    status: Status

    @property
    def subject(self) -> str:
        return f"run:{self.run}"
