"""Experiments and their runs: what was tried, with which parameters and data, and what came out."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.names import ExperimentId, RunId

Status = Literal["running", "scheduled", "finished", "failed", "killed"]

PARENT = "mlflow.parentRunId"
"""The tag of a run that names the run it belongs to, such as a trial's study."""

NOTE = "mlflow.note.content"
"""The tag of a run that holds its note, in Markdown."""

OWN_STORE = "mlflow-artifacts:/"
"""How URIs of artifacts begin that are in the server's own store.

Experiments hold such URIs, archives have them, and filters compare them as a run's
`artifact_uri`; clients of MLflow's protocol read them as they are.
"""


class Experiment(Entity):
    """Runs that belong together.

    Attributes:
        id: Number of the experiment.
        project: Project that it belongs to.
        name: Name of the experiment.
        artifacts_at: Where clients put its runs' artifacts.
        tags: Tags by key.
        created_at: When it was made.
        updated_at: When it was changed last.
        deleted_at: When it was put away, or None.
    """

    id: int
    project: str
    name: str
    artifacts_at: str
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class Metric(Entity):
    """One measured value.

    Attributes:
        key: Name of the metric.
        value: What was measured; may be NaN or infinite.
        step: Counts whatever the run counts; it may have a fraction, and repeat.
        at: When it was measured; now if not given.
    """

    key: str
    value: float
    step: int | float = 0
    at: datetime | None = None


class Point(Entity):
    """One point of a metric's series.

    Attributes:
        step: Counts whatever the run counts; it may have a fraction.
        value: What was measured.
        at: When it was measured.
    """

    step: int | float
    value: float
    at: datetime


class Batch(Entity):
    """What one sender adds to a run at once.

    Attributes:
        run: Id of the run.
        points: A packed piece (see ``segments``) by metric.
        params: Parameters by key.
        tags: Tags by key.
        stream: Name of the sender, where it may send a batch twice; else empty.
        sequence: Number of the batch in its stream, from 1 up; each is stored once.
    """

    run: RunId
    points: dict[str, bytes] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    stream: str = ""
    sequence: int = 0


class Series(Entity):
    """What is known of a metric without reading its points.

    Attributes:
        key: Name of the metric.
        points: Number of its points.
        last: Value at the highest step; the latest in time, where a step repeats.
        step: Step of the last value.
        at: When the last value was measured.
        low: Least value, NaN left out; None where there is no other.
        high: Greatest value, NaN left out; None where there is no other.
    """

    key: str
    points: int
    last: float
    step: int | float
    at: datetime
    low: float | None
    high: float | None


class Dataset(Entity):
    """Data that a run used, as its client described it.

    Attributes:
        name: Name of the data.
        digest: Names the content: equal content, equal digest.
        source_type: Kind of its source, such as ``local``.
        source: Where it came from, as the kind has it.
        schema: Its columns, as JSON text of the client.
        profile: Its statistics, as JSON text of the client.
        context: What it was used for, such as ``training``.
        tags: Tags by key.
    """

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str | None = None
    profile: str | None = None
    context: str = ""
    tags: dict[str, str] = {}


class Artifact(Entity):
    """A file or tree that is attached to a run.

    Attributes:
        path: Path among the run's artifacts.
        digest: Digest of the stored blob or tree.
        bytes: Its size, in bytes.
    """

    path: str
    digest: str
    bytes: int


class Run(Entity):
    """One try.

    Attributes:
        id: Id of the run, ``run_...`` unless its client chose another.
        experiment: Number of its experiment.
        project: Project of its experiment.
        name: Name of the run; its id if none was given.
        user: Who ran it.
        status: Whether it runs, or how it ended.
        started_at: When it began.
        ended_at: When it ended, or None.
        deleted_at: When it was put away, or None.
        params: Parameters by key; each is set once.
        tags: Tags by key.
        metrics: Last value of each metric.
    """

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
        """Where the run's artifacts are in the artifact store."""
        return f"{self.experiment}/{self.id}/artifacts"


class PastRun(Entity):
    """A run that happened elsewhere.

    Attributes:
        id: Id that it had there, and keeps.
        experiment: Number of the experiment that takes it in.
        name: Name of the run.
        user: Who ran it.
        status: How it ended.
        started_at: When it began.
        ended_at: When it ended, or None.
        deleted_at: When it was put away, or None.
        params: Parameters by key.
        tags: Tags by key.
        points: A packed piece (see ``segments``) by metric.
        datasets: Data that it used.
    """

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
    """One thing that is not the same in two runs.

    Attributes:
        of: Kind of the thing.
        key: Its name; of code ``path:line`` of the second run.
        a: What the first run has; None where it is missing.
        b: What the second run has; None where it is missing.
    """

    of: Literal["param", "metric", "tag", "dataset", "code", "environment"]
    key: str
    a: str | float | None
    b: str | float | None


class Comparison(Entity):
    """What differs between two runs, and how much is the same.

    Attributes:
        a: Id of the one run.
        b: Id of the other run.
        differences: What differs, code first.
        same: Number of compared things that are the same.
    """

    a: str
    b: str
    differences: list[Difference]
    same: int


class RunPage(Entity):
    """A page of runs.

    Attributes:
        runs: The runs, in the order that was asked for.
        next: Asks for the page after this one; empty on the last.
    """

    runs: list[Run]
    next: str = ""


class SavedView(Entity):
    """A search under a name.

    Attributes:
        name: Name of the view, unique in its project.
        project: Project that it belongs to.
        experiments: Numbers of the experiments that it searches.
        filter: Condition in the search language; empty for all runs.
        order: Fields to sort by, such as ``metrics.loss DESC``.
        columns: Fields that its table shows.
        by: Who saved it last.
        updated_at: When it was saved last.
    """

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

    Attributes:
        id: Id of the model, ``m-...``.
        experiment: Number of its experiment.
        name: Name of the model; its id if none was given.
        run: Id of the run that wrote it; empty if none did.
        type: Kind of the model, as its client says it.
        status: MLflow's name of how far it is, such as ``LOGGED_MODEL_READY``.
        params: Parameters by key.
        tags: Tags by key.
        metrics: Metrics that were logged for it, the last of each on each dataset.
        created_at: When it was begun.
        updated_at: When it was changed last.
        deleted_at: When it was marked as deleted, or None.
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
        """Where the model's files are in the artifact store."""
        return f"{self.experiment}/models/{self.id}/artifacts"


class ModelMetric(Entity):
    """A metric of a logged model.

    Attributes:
        key: Name of the metric.
        value: What was measured; None where that is not finite.
        step: Counts whatever the run counts.
        at: When it was measured, in milliseconds since 1970.
        run: Id of the run that measured it.
        dataset_name: Name of the data that it was measured on; empty if not said.
        dataset_digest: Content of that data; empty if not said.
    """

    key: str
    value: float | None
    step: int
    at: int
    run: str
    dataset_name: str = ""
    dataset_digest: str = ""


class ModelUse(Entity):
    """A run's input or output model.

    Attributes:
        model: Id of the logged model.
        direction: Whether the run read or wrote it.
        step: When it was written, as the run counts.
    """

    model: str
    direction: Literal["input", "output"]
    step: int = 0


class Downsampled(Entity):
    """A series for a chart: few points, with each stretch's extremes kept.

    Attributes:
        run: Id of the run.
        key: Name of the metric.
        points: Number of points of the whole series.
        steps: Steps of the points that are kept.
        values: Their values; null in JSON where they are not finite.
        seconds: When they were measured, in seconds since 1970.
    """

    run: str
    key: str
    points: int
    steps: list[float]
    values: list[float | None]
    seconds: list[float] = []
