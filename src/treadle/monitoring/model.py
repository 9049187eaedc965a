from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

WindowState = Literal["measured", "complete"]


class ColumnDrift(Entity):
    """One column of a window beside the champion's training data. ``drifted`` when p is small and the effect is not."""

    column: str
    psi: float
    p: float
    drifted: bool


class Measure(Entity):
    """A metric over labelled rows, with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float


class LogFile(Entity):
    """A day of an endpoint's inference log as one Parquet file in the blob store."""

    endpoint: str
    day: str
    digest: str
    rows: int
    bytes: int


class Window(Entity):
    """What an endpoint showed between two moments. ``measures`` come once the labels of the window are due."""

    endpoint: str
    start: datetime
    end: datetime
    champion: str
    state: WindowState
    rows: int
    errors: int
    latency_ms_p99: float
    drift: list[ColumnDrift]
    labels: int
    measures: list[Measure]


class Performance(Entity):
    """A metric over all labelled answers of an endpoint in a period."""

    endpoint: str
    since: datetime
    until: datetime
    metric: str
    value: float | None
    rows: int
    labelled: int


class _WindowEvent(Event):
    endpoint: str
    project: str
    version: str
    start: datetime

    @property
    def subject(self) -> str:
        return f"window:{self.endpoint}/{self.start:%Y-%m-%dT%H:%M}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.version}",)


class DriftFound(_WindowEvent):
    columns: list[str]
    strongest: str
    psi: float


class RequirementMissed(_WindowEvent):
    requirement: str
    metric: str
    value: float
    bound: str

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.version}", f"requirement:{self.project}/{self.requirement}")


class ModelStale(_WindowEvent):
    age_days: float


class LabelsMissing(_WindowEvent):
    labelled: int
    rows: int
