"""What monitoring measures, and the events of what it finds."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

WindowState = Literal["measured", "complete"]


class ColumnDrift(Entity):
    """One column of a window beside the champion's training data.

    Attributes:
        column: The input column's name, or ``prediction``.
        psi: The population stability index.
        p: P-value of the χ² test that nothing moved.
        drifted: Whether the test rejects, over all columns, and the index is large enough.
    """

    column: str
    psi: float
    p: float
    drifted: bool


class Measure(Entity):
    """A metric of a window: over its labelled rows, or estimated before there are any.

    Attributes:
        metric: The metric's name.
        value: Its value.
        low: Lower limit of its 95 % interval.
        high: Upper limit of its 95 % interval.
    """

    metric: str
    value: float
    low: float
    high: float


class LogFile(Entity):
    """A day of an endpoint's inference log as one Parquet file in the blob store.

    Attributes:
        endpoint: The endpoint's name.
        day: The day, such as ``2026-03-01``, in UTC.
        digest: The file's digest in the blob store.
        rows: Rows in the file.
        bytes: The file's size.
    """

    endpoint: str
    day: str
    digest: str
    rows: int
    bytes: int


class Window(Entity):
    """What an endpoint showed between two moments.

    Attributes:
        endpoint: The endpoint's name.
        start: The first moment.
        end: The moment after the last.
        champion: The version that answered most as champion, such as ``flights:3``.
        state: Measured once it has ended, complete once its labels are due.
        rows: Rows that callers got answers to.
        errors: Rows that the champion failed.
        latency_ms_p99: The 99 % quantile of the latency in milliseconds.
        drift: Every column beside the training data; empty with fewer than 100 rows.
        estimates: Metrics of the champion's answers, estimated without labels once it has ended;
            they hold while the relation of inputs and truth has not changed.
        labels: Rows whose labels had come when they were due.
        measures: Metrics over them, once the window is complete.
    """

    endpoint: str
    start: datetime
    end: datetime
    champion: str
    state: WindowState
    rows: int
    errors: int
    latency_ms_p99: float
    drift: list[ColumnDrift]
    estimates: list[Measure]
    labels: int
    measures: list[Measure]


class Performance(Entity):
    """A metric over all labelled answers of an endpoint in a period.

    Attributes:
        endpoint: The endpoint's name.
        since: The period's first moment.
        until: The moment after its last.
        metric: The metric's name.
        value: Its value; None where the labelled rows cannot show it.
        rows: Rows that callers got answers to.
        labelled: Those of them whose labels have come.
    """

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
    """Columns of a window have moved away from the training data, the strongest first."""

    columns: list[str]
    strongest: str
    psi: float


class RequirementMissed(_WindowEvent):
    """A window has missed a requirement."""

    requirement: str
    metric: str
    value: float
    bound: str

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.version}", f"requirement:{self.project}/{self.requirement}")


class ModelStale(_WindowEvent):
    """The champion is older than its project wants it to be."""

    age_days: float


class LabelsMissing(_WindowEvent):
    """No label of a window has come by the time they were due."""

    labelled: int
    rows: int


class FindingRaised(_WindowEvent):
    """A monitor has found something out of bounds that has no event of its own.

    Attributes:
        monitor: The monitor's name.
        name: What it checked.
        measured: The column or metric that it measured.
        value: The measured number.
        threshold: The number it is held against, if there is one.
        p: P-value of a test, if there was one.
        since: The moment from which it holds.
        message: The finding in a sentence.
        trigger: ``drift``, ``missed requirement`` or ``stale``: what it may set off; None for
            what only people act on.
    """

    monitor: str
    name: str
    measured: str
    value: float
    threshold: float | None
    p: float | None
    since: datetime
    message: str
    trigger: str | None


class MonitorFailed(_WindowEvent):
    """A monitor could not look at a window; the others did.

    Attributes:
        monitor: The monitor's name.
        reason: Why it could not.
    """

    monitor: str
    reason: str
