"""Types and events of trainings."""

from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

TrainingState = Literal["running", "succeeded", "failed"]


class Training(Entity):
    """A training of a project's model.

    Attributes:
        run: Id of the tracked run, which is also the id of the training.
        project: Project of the model.
        pipeline: Id of the pipeline run.
        state: State of the training.
        package: Digest of the packaged model; None before the training has succeeded.
        holdout: Digest of the table that the model is judged on; None before the training has
            succeeded.
        error: Why the training failed, or None.
        parameters: Values of pipeline parameters by name.
        actor: User or program in whose name the training runs.
        cause: Number of the event that started the training.
    """

    run: str
    project: str
    pipeline: str
    state: TrainingState
    package: str | None
    holdout: str | None
    error: str | None
    parameters: dict[str, Any]
    actor: str
    cause: int | None


class TrainingStarted(Event):
    """A training started."""

    run: str
    project: str
    pipeline: str
    datasets: dict[str, str]

    @property
    def subject(self) -> str:
        return f"run:{self.run}"

    @property
    def uses(self) -> tuple[str, ...]:
        return tuple(f"data:{digest}" for digest in self.datasets.values())


class TrainingFinished(Event):
    """A training has made a packaged model."""

    run: str
    project: str
    package: str
    holdout: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"run:{self.run}",)

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"package:{self.package}",)


class TrainingFailed(Event):
    """A training ended without a packaged model."""

    run: str
    project: str
    error: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"


class RowsCollected(Event):
    """Answered requests whose labels have come were collected as rows to learn from."""

    project: str
    digest: str
    rows: int
    unmatched: int
    first: datetime | None = None
    last: datetime | None = None

    @property
    def subject(self) -> str:
        return f"labels:{self.project}"

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"answers:{self.digest}",) if self.digest else ()


class DatasetGrown(Event):
    """A version of the learning dataset was made of the source's rows and of answered requests."""

    project: str
    name: str
    digest: str
    source: str
    answers: int
    portions: list[str]
    first: datetime | None = None
    last: datetime | None = None

    @property
    def subject(self) -> str:
        return f"dataset:{self.project}/{self.name}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"data:{self.source}", *(f"answers:{digest}" for digest in self.portions))

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"data:{self.digest}",)


class NewRows(Entity):
    """What has come since a project's champion was trained.

    Attributes:
        labels: Number of requests that were labelled since.
        wanted: Number of labelled answers that an automatic training waits for.
        unmatched: Labels that named no answered request, when labels were last joined to the log.
        examples: Some of their ids.
    """

    labels: int
    wanted: int
    unmatched: int
    examples: list[str]
