from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

TrainingState = Literal["running", "succeeded", "failed"]


class Training(Entity):
    """A training of a project's model. ``package`` is the packaged model's tree, ``holdout`` the table it is judged on."""

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
    run: str
    project: str
    error: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"
