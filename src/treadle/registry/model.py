from datetime import datetime
from typing import Literal

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


Stage = Literal["None", "Staging", "Production", "Archived"]
"""What versions of old clients are in; aliases say it better."""


class RegisteredModel(Entity):
    """A name under which versions follow one another. ``aliases`` point at numbers."""

    name: str
    project: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]
    created_at: datetime
    updated_at: datetime


class ModelVersion(Entity):
    """One version of a model; its content never changes.

    A version from a verdict names its ``package``; one that a client registered names the ``source`` it was logged to.
    """

    model: str
    number: int
    project: str
    run: str
    package: str
    verdict: str
    created_at: datetime
    aliases: list[str]
    approval: Approval | None
    source: str = ""
    logged_model: str = ""
    description: str = ""
    tags: dict[str, str] = {}
    stage: Stage = "None"
    created_by: str = ""
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def ref(self) -> str:
        return f"{self.model}:{self.number}"


class PastVersion(Entity):
    """A version that was registered elsewhere, under its own number."""

    number: int
    source: str
    run: str
    created_at: datetime
    updated_at: datetime
    created_by: str = ""
    logged_model: str = ""
    description: str = ""
    stage: Stage = "None"
    tags: dict[str, str] = {}


class VersionRegistered(Event):
    model: str
    number: int
    project: str
    run: str
    package: str
    verdict: str
    source: str = ""

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        went_in = {"package": self.package, "verdict": self.verdict, "run": self.run}
        return tuple(f"{kind}:{name}" for kind, name in went_in.items() if name)

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"version:{self.model}:{self.number}",)


class VersionApproved(Event):
    model: str
    number: int
    project: str
    verdict: str
    comment: str
    signature: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"verdict:{self.verdict}",) if self.verdict else ()


class AliasMoved(Event):
    model: str
    alias: str
    project: str
    number: int
    before: int | None

    @property
    def subject(self) -> str:
        return f"alias:{self.model}@{self.alias}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.model}:{self.number}",)


class AliasRemoved(Event):
    model: str
    alias: str
    project: str
    number: int

    @property
    def subject(self) -> str:
        return f"alias:{self.model}@{self.alias}"


class StageChanged(Event):
    model: str
    number: int
    project: str
    stage: Stage
    before: Stage

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class ModelRegistered(Event):
    name: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class ModelRenamed(Event):
    name: str
    before: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class VersionDeleted(Event):
    model: str
    number: int
    project: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class ModelDeleted(Event):
    name: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class VersionTagged(Event):
    """A version's tag was set, or removed where ``value`` is none."""

    model: str
    number: int
    project: str
    key: str
    value: str | None

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class Webhook(Entity):
    """Who is told of what happens to models. ``events`` are pairs such as ``MODEL_VERSION CREATED``; the secret is never shown."""

    id: str
    name: str
    description: str
    url: str
    events: list[str]
    active: bool
    signed: bool
    created_at: datetime
    updated_at: datetime
