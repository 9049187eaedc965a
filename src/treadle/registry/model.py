from datetime import datetime

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

CHAMPION = "champion"


class Approval(Entity):
    """A person's signature under a version and the evidence it was given on."""

    by: str
    at: datetime
    comment: str
    verdict: str
    package: str
    signature: str


class ModelVersion(Entity):
    """One version of a model. ``package`` is its content; it never changes."""

    model: str
    number: int
    project: str
    run: str
    package: str
    verdict: str
    created_at: datetime
    aliases: list[str]
    approval: Approval | None

    @property
    def ref(self) -> str:
        return f"{self.model}:{self.number}"


class VersionRegistered(Event):
    model: str
    number: int
    run: str
    package: str
    verdict: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"package:{self.package}", f"verdict:{self.verdict}", f"run:{self.run}")

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"version:{self.model}:{self.number}",)


class VersionApproved(Event):
    model: str
    number: int
    verdict: str
    comment: str
    signature: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"verdict:{self.verdict}",)


class AliasMoved(Event):
    model: str
    alias: str
    number: int
    before: int | None

    @property
    def subject(self) -> str:
        return f"alias:{self.model}@{self.alias}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.model}:{self.number}",)
