"""Experiments and their runs: what was tried, with which parameters and data, and what came out."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.event import Event
from treadle.kernel.names import ExperimentId, RunId

LONGEST_KEY, LONGEST_VALUE = 250, 1 << 20
Status = Literal["running", "scheduled", "finished", "failed", "killed"]

OWN_STORE = "mlflow-artifacts:/"
"""How URIs of artifacts begin that are in the server's own store.

Experiments hold such URIs, archives have them, and filters compare them as a run's
`artifact_uri`; clients of MLflow's protocol read them as they are.
"""


def check_text(what: str, key: str, value: str) -> None:
    """Raise Invalid for what no parameter or tag can be."""
    check_key(what, key)
    if len(value) > LONGEST_VALUE or "\0" in value:
        raise Invalid(f"{what} '{key}' is longer than 1 MiB, or has a NUL in it.")


def check_key(what: str, key: str) -> None:
    """Raise Invalid for what no parameter, tag or metric can be called."""
    if not key or len(key) > LONGEST_KEY or "\0" in key:
        raise Invalid(
            f"{what} '{key[:80]}' needs a name of 1 to {LONGEST_KEY} characters without a NUL."
        )


class Experiment(Entity):
    """Runs that belong together. ``artifacts_at`` is where clients put its runs' artifacts."""

    id: int
    project: str
    name: str
    artifacts_at: str
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class Metric(Entity):
    """One measured value. ``step`` counts whatever the run counts; it may have a fraction, and
    repeat. ``at`` is now if not given.
    """

    key: str
    value: float
    step: int | float = 0
    at: datetime | None = None


class Point(Entity):
    step: int | float
    value: float
    at: datetime


class Batch(Entity):
    """What one sender adds to a run at once.

    ``points`` holds a packed piece (see ``segments``) by metric.

    A sender that may send a batch twice names its ``stream`` and counts ``sequence`` up from 1:
    each number is stored once.
    """

    run: RunId
    points: dict[str, bytes] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    stream: str = ""
    sequence: int = 0


class Series(Entity):
    """What is known of a metric without reading its points. ``low`` and ``high`` leave NaN out."""

    key: str
    points: int
    last: float
    step: int | float
    at: datetime
    low: float | None
    high: float | None


class Dataset(Entity):
    """Data that a run used, as its client described it. ``digest`` names the content."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    context: str = ""
    tags: dict[str, str] = {}


class Artifact(Entity):
    path: str
    digest: str
    bytes: int


class Run(Entity):
    """One try. ``metrics`` holds the last value of each key."""

    id: str
    experiment: int
    project: str
    name: str
    user: str
    status: Status
    started_at: datetime
    ended_at: datetime | None
    deleted_at: datetime | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def artifact_root(self) -> str:
        return f"{self.experiment}/{self.id}/artifacts"


class PastRun(Entity):
    """A run that happened elsewhere. ``points`` holds packed pieces by metric."""

    id: str
    experiment: ExperimentId
    name: str
    user: str
    status: Status
    started_at: datetime
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    points: dict[str, bytes] = {}
    datasets: list[Dataset] = []


class Difference(Entity):
    """One thing that is not the same in two runs; None where it is missing.

    Code is named as ``path:line`` of the second run.
    """

    of: Literal["param", "metric", "tag", "dataset", "code", "environment"]
    key: str
    a: str | float | None
    b: str | float | None


class Comparison(Entity):
    """What differs between two runs, and how much is the same."""

    a: str
    b: str
    differences: list[Difference]
    same: int


class RunPage(Entity):
    """A page of runs; ``next`` asks for the one after it, and is empty on the last."""

    runs: list[Run]
    next: str = ""


class SavedView(Entity):
    """A search under a name: which runs, in which order, and the fields that its table shows."""

    name: str
    project: str
    experiments: list[int]
    filter: str
    order: list[str]
    columns: list[str]
    by: str
    updated_at: datetime


class LoggedModel(Entity):
    """A model that a run wrote, before anybody registers it.

    ``metrics`` are those that were logged for it.
    """

    id: str
    experiment: int
    name: str
    run: str
    type: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list["ModelMetric"]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    @property
    def artifact_root(self) -> str:
        return f"{self.experiment}/models/{self.id}/artifacts"


class ModelMetric(Entity):
    key: str
    value: float | None
    step: int
    at: int
    run: str
    dataset_name: str = ""
    dataset_digest: str = ""


class ModelUse(Entity):
    """A run's input or output model; ``step`` says when it was written."""

    model: str
    direction: Literal["input", "output"]
    step: int = 0


class Downsampled(Entity):
    """A series for a chart: few points, with each stretch's extremes kept."""

    run: str
    key: str
    points: int
    steps: list[float]
    values: list[float | None]


class ExperimentCreated(Event):
    experiment: int
    project: str
    name: str

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class ExperimentDeleted(Event):
    experiment: int
    project: str
    name: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class ExperimentRestored(Event):
    experiment: int
    project: str
    name: str

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class RunStarted(Event):
    run: str
    project: str
    name: str
    experiment: int | None = None

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


class HistoryAdded(Event):
    """Runs of one project that happened elsewhere came in."""

    source: str
    project: str
    runs: int

    @property
    def subject(self) -> str:
        return "history:" + self.source[:200]


class RunUsedData(Event):
    """A run named the data it read: lineage from a dataset's content to the run."""

    run: str
    project: str
    datasets: dict[str, str]

    @property
    def subject(self) -> str:
        return f"run:{self.run}"

    @property
    def uses(self) -> tuple[str, ...]:
        return tuple(f"data:{digest}" for digest in self.datasets.values())

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"run:{self.run}",)


class RunDeleted(Event):
    run: str
    project: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"run:{self.run}"


class RunRestored(Event):
    run: str
    project: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"
