"""Types and events of data: dataset versions and labels."""

from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

QUARANTINE = ".quarantine"
"""What follows a dataset's name in that of the rows that its checks have set aside."""


class DatasetVersion(Entity):
    """The content of a dataset at one time. Equal content is the same version.

    Attributes:
        project: Project of the dataset.
        name: Name of the dataset in ``treadle.toml``.
        digest: Digest of the stored files, 64 hex digits.
        files: Number of files.
        bytes: Size of all files, in bytes.
        created_at: Time at which the version was recorded.
        replaces: Digests of versions whose place it took when rows of a person were erased from
            them.
    """

    project: str
    name: str
    digest: str
    files: int
    bytes: int
    created_at: datetime
    replaces: list[str] = []

    @property
    def ref(self) -> str:
        """Short name of the version: ``NAME@`` and the first 12 digits of its digest."""
        return f"{self.name}@{self.digest[:12]}"


class DatasetVersionAdded(Event):
    """A version of a dataset was recorded."""

    project: str
    name: str
    digest: str
    files: int
    bytes: int

    @property
    def subject(self) -> str:
        return f"dataset:{self.project}/{self.name}"

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"data:{self.digest}",)


class DatasetVersionRemoved(Event):
    """A version of a dataset was removed; its content goes when nothing else names it."""

    project: str
    name: str
    digest: str

    @property
    def subject(self) -> str:
        return f"dataset:{self.project}/{self.name}"


class ChecksFailed(Event):
    """A version of a dataset was taken although checks of its rows failed.

    Attributes:
        project: Project of the dataset.
        dataset: The dataset.
        checks: What each failed check expects, and how many rows violate it.
        quarantined: Rows that were set aside as dataset ``NAME.quarantine``.
    """

    project: str
    dataset: str
    checks: list[str]
    quarantined: int = 0

    @property
    def subject(self) -> str:
        return f"dataset:{self.project}/{self.dataset}"


class SensitiveDataRead(Event):
    """Somebody, or a job, has read rows of a dataset that is declared as sensitive.

    Attributes:
        project: The project that declares the dataset.
        dataset: The dataset.
        digest: The digest of what was read.
        what: What that is: a version of the dataset, or what was made of its rows.
        way: How it was read: ``blob``, ``artifact``, ``features``, ``job``, or ``quality`` for what
            profiles, checks and comparisons show of its rows.
        token: The token that asked for it; empty where none was needed.
        job: The job that has read it; empty where a person or a program has.
    """

    project: str
    dataset: str
    digest: str
    what: str
    way: str
    token: str = ""
    job: str = ""

    @property
    def subject(self) -> str:
        return f"sensitive-data:{self.project}/{self.dataset}"


class LabelsAdded(Event):
    """Labels of requests were recorded."""

    project: str
    labels: int

    @property
    def subject(self) -> str:
        return f"labels:{self.project}"


class Label(Entity):
    """The true outcome of one request, known some time after the prediction.

    Attributes:
        request: Id under which the prediction was requested.
        value: The true value: a number, or a class by its name, or true or false; 1 or 0 also
            where the model predicts a probability.
    """

    request: str
    value: float | bool | str
