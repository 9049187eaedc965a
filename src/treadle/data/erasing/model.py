"""Types and events of erasures: what is planned, what was done, and what is told of it."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.ports.content import LearntModel

ErasureState = Literal["erasing", "done", "abandoned"]


class ErasedPlace(Entity):
    """A place with rows of a person.

    Attributes:
        project: The project that it belongs to; empty for none.
        what: What it is, for people.
        rows: How many rows, or entries, are theirs.
        digest: Digest of the content; empty for what is kept elsewhere.
    """

    project: str
    what: str
    rows: int
    digest: str = ""


class NotLookedInto(Entity):
    """Something that may hold a person's rows and is not erased.

    Attributes:
        what: What it is, for people.
        why: Why it is left.
        files: How many there are.
        has_value: Whether the value is among its bytes.
    """

    what: str
    why: str
    files: int = 1
    has_value: bool = False


class ErasurePlan(Entity):
    """Where a person's rows are.

    Attributes:
        places: The places with their rows, which are erased.
        models: The versions that have learnt from them, which are marked.
        left: What may hold them and is not erased.
    """

    places: list[ErasedPlace]
    models: list[LearntModel]
    left: list[NotLookedInto]

    @property
    def rows(self) -> int:
        """How many rows are theirs; a content counts once, whatever names it."""
        return _rows(self.places)


class ErasedContent(Entity):
    """A content that was erased, and the one that takes its place.

    Attributes:
        old: Digest of what was erased.
        new: Digest of what takes its place; empty where nothing named it any more.
    """

    old: str
    new: str


class Erasure(Entity):
    """An erasure of a person's rows, begun or done.

    Attributes:
        id: Its id.
        project: The project in which it erases; none for all.
        state: Whether it is done, or was given up.
        fingerprints: A keyed hash of each column with its value, by which somebody who has the
            value can check whose rows they were.
        places: What was erased.
        contents: The contents that were erased, with those that took their places.
        models: The versions that have learnt from them, and are marked.
        left: What may hold the rows and was not erased.
        started_at: When it began.
        ended_at: When it was done.
        actor: Who has asked for it.
        job: The job that does it; empty where no worker was asked.
    """

    id: str
    project: str | None
    state: ErasureState
    fingerprints: list[str]
    places: list[ErasedPlace]
    contents: list[ErasedContent]
    models: list[LearntModel]
    left: list[NotLookedInto]
    started_at: datetime
    ended_at: datetime | None
    actor: str
    job: str = ""

    @property
    def rows(self) -> int:
        """How many rows were erased; a content counts once, whatever names it."""
        return _rows(self.places)


def _rows(places: list[ErasedPlace]) -> int:
    return sum({place.digest or place.what: place.rows for place in places}.values())


class _ErasureEvent(Event):
    """An event about an erasure."""

    erasure: str
    project: str | None

    @property
    def subject(self) -> str:
        return f"erasure:{self.erasure}"


class ErasureStarted(_ErasureEvent):
    """Somebody has asked that a person's rows are erased."""

    fingerprints: list[str]


class ErasureDone(_ErasureEvent):
    """A person's rows were erased: what, where, and what has learnt from them.

    Attributes:
        fingerprints: Keyed hashes of the columns with their values.
        places: What was erased, with the number of rows.
        contents: The contents before and after.
        models: The versions that have learnt from them.
        left: Number of kinds of things that were not looked into.
    """

    fingerprints: list[str]
    places: list[ErasedPlace]
    contents: list[ErasedContent]
    models: list[str]
    left: int


class ErasureAbandoned(_ErasureEvent):
    """Somebody has given an erasure up that was not done: rows may be left anywhere."""


class DatasetVersionErased(Event):
    """Rows of a person were erased from a version of a dataset; another took its place.

    Attributes:
        project: Project of the dataset.
        name: The dataset.
        digest: Digest of the version that is gone.
        successor: Digest of the version without the rows.
        erasure: Id of the erasure.
        rows: How many rows it has fewer.
    """

    project: str
    name: str
    digest: str
    successor: str
    erasure: str
    rows: int

    @property
    def subject(self) -> str:
        return f"dataset:{self.project}/{self.name}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"data:{self.digest}",)

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"data:{self.successor}",)
