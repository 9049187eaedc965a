"""Events of tracking."""

from treadle.kernel.event import Event
from treadle.tracking.model import Status


class ExperimentCreated(Event):
    """An experiment was made."""

    experiment: int
    project: str
    name: str

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class ExperimentDeleted(Event):
    """An experiment was put away, or erased for good."""

    experiment: int
    project: str
    name: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class ExperimentRestored(Event):
    """An experiment that was put away is back."""

    experiment: int
    project: str
    name: str

    @property
    def subject(self) -> str:
        return f"experiment:{self.experiment}"


class RunStarted(Event):
    """A run began."""

    run: str
    project: str
    name: str
    experiment: int | None = None

    @property
    def subject(self) -> str:
        return f"run:{self.run}"


class RunFinished(Event):
    """A run ended, with the status it says."""

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
    """A run was put away, or erased for good."""

    run: str
    project: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"run:{self.run}"


class RunRestored(Event):
    """A run that was put away is back."""

    run: str
    project: str

    @property
    def subject(self) -> str:
        return f"run:{self.run}"
