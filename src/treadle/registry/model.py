"""Types of the registry: models, versions, approvals, webhooks, and the registry's events."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

CHAMPION = "champion"
ERASED_TAG = "treadle.erased"
"""The tag of a version that has learnt from rows which were erased: the ids of the erasures."""


class Approval(Entity):
    """A person's signature under a version and the evidence for it.

    Attributes:
        by: Who approved.
        at: When.
        comment: What the person said.
        verdict: The verdict that the approval rests on.
        package: The digest of the approved package.
        signature: The signature over all of this.
    """

    by: str
    at: datetime
    comment: str
    verdict: str
    package: str
    signature: str


Stage = Literal["None", "Staging", "Production", "Archived"]
"""Stages of a version, which older MLflow clients set; new ones use aliases."""


class RegisteredModel(Entity):
    """A name under which versions follow one another.

    Attributes:
        name: The model's name.
        project: The project that it belongs to.
        description: What the model is, in words.
        tags: The model's tags.
        aliases: The version's number by alias.
        created_at: When the model was registered.
        updated_at: When it was last changed.
    """

    name: str
    project: str
    description: str
    tags: dict[str, str]
    aliases: dict[str, int]
    created_at: datetime
    updated_at: datetime


class ModelVersion(Entity):
    """A version of a model. Its content never changes.

    Attributes:
        model: The model's name.
        number: The version's number, from 1.
        project: The project that the model belongs to.
        run: The run that made the version; empty where none is known.
        package: The digest of the model's files; empty for a version registered by its source.
        verdict: The verdict that it was registered on; empty for one registered by its source.
        created_at: When it was registered.
        aliases: The aliases that point to it.
        approval: The approval, or None.
        source: Where the client that registered it had logged the model.
        logged_model: The logged model's id, where the source is one.
        description: What the version is, in words.
        tags: The version's tags.
        stage: The stage that an older client has set.
        created_by: Who registered it.
        updated_at: When it was last changed.
        deleted_at: When it was deleted; None where it was not.
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
        """The version's reference, `MODEL:NUMBER`."""
        return f"{self.model}:{self.number}"


class ApprovedVersion(Entity):
    """A version that somebody has approved.

    Attributes:
        model: The model's name.
        number: The version's number.
        project: The project that the model belongs to.
        approval: The approval.
        fits: Whether its signature fits the version as it is now.
    """

    model: str
    number: int
    project: str
    approval: Approval
    fits: bool


class PastVersion(Entity):
    """A version that was registered elsewhere. Its fields are those of `ModelVersion`."""

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
    """A version was registered."""

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


class VersionPackaged(Event):
    """A version that was registered by its source has got a package."""

    model: str
    number: int
    project: str
    package: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"package:{self.package}",)


class VersionApproved(Event):
    """A person has approved a version."""

    is_signature = True

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
    """An alias points to another version."""

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


class ChampionNamed(Event):
    """Somebody has called a version champion: it is to go live."""

    model: str
    number: int
    project: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class AliasRemoved(Event):
    """An alias was removed."""

    model: str
    alias: str
    project: str
    number: int

    @property
    def subject(self) -> str:
        return f"alias:{self.model}@{self.alias}"


class StageChanged(Event):
    """An older client has moved a version to another stage."""

    model: str
    number: int
    project: str
    stage: Stage
    before: Stage

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class ModelRegistered(Event):
    """A model was registered."""

    name: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class ModelRenamed(Event):
    """A model was renamed; `before` is its former name."""

    name: str
    before: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class VersionDeleted(Event):
    """A version was deleted; where it was erased, nothing of it remains."""

    model: str
    number: int
    project: str
    erased: bool

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class ModelDeleted(Event):
    """A model was deleted with its versions."""

    name: str
    project: str

    @property
    def subject(self) -> str:
        return f"model:{self.name}"


class VersionTagged(Event):
    """A version's tag was set, or removed where `value` is None."""

    model: str
    number: int
    project: str
    key: str
    value: str | None

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"


class Webhook(Entity):
    """A subscription to the registry's events. Its secret is never shown.

    Attributes:
        id: The subscription's id.
        name: Its name.
        description: What it is for.
        url: Where events are sent.
        events: The events to send, such as `MODEL_VERSION CREATED`.
        active: Whether events are sent.
        signed: Whether deliveries are signed.
        created_at: When it was created.
        updated_at: When it was last changed.
    """

    id: str
    name: str
    description: str
    url: str
    events: list[str]
    active: bool
    signed: bool
    created_at: datetime
    updated_at: datetime


class TrainingDataErased(Event):
    """Rows from which a version has learnt were erased since."""

    model: str
    number: int
    project: str
    erasure: str

    @property
    def subject(self) -> str:
        return f"version:{self.model}:{self.number}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"erasure:{self.erasure}",)
