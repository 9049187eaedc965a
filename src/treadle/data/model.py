from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event


class DatasetVersion(Entity):
    """A dataset's content at one time: the digest of its tree names it, so equal content is the same version."""

    project: str
    name: str
    digest: str
    files: int
    bytes: int
    created_at: datetime

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.digest[:12]}"


class DatasetVersionAdded(Event):
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


class LabelsAdded(Event):
    project: str
    labels: int

    @property
    def subject(self) -> str:
        return f"labels:{self.project}"


class Label(Entity):
    """The truth about one request, known later. ``request`` is the id under which it was predicted."""

    request: str
    value: float
