"""Types and events of features."""

from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

Freshness = Literal["ok", "late", "no objective", "not materialised"]


class DeclaredView(Entity):
    """A feature view as a project declares it.

    Attributes:
        project: Name of the project.
        name: Name of the view.
        source: Where its facts are: a dataset's name, or a path.
        keys: Columns that name the entity.
        at: Column with the time of the event.
        created_at: Column with the time at which a row arrived, or ''.
        ttl: How long features are valid after their event, or '' for ever.
        sql: The query over the source, or ''.
        columns: The features, as declared or as they were last materialised.
        freshness: The largest age of the newest fact that is still good, or '' for no objective.
    """

    project: str
    name: str
    source: str
    keys: list[str]
    at: str
    created_at: str
    ttl: str
    sql: str
    columns: list[str]
    freshness: str


class ViewFreshness(Entity):
    """How old the newest fact of a view is in the online store, beside its objective.

    Attributes:
        project: Name of the project.
        view: Name of the view.
        rows: Number of keys with features.
        newest: Event time of the newest fact; None where none is stored.
        age_seconds: Seconds since then; None where none is stored.
        objective_seconds: The largest age that is still good; None for no objective.
        state: ``ok``, ``late``, ``no objective`` or ``not materialised``.
    """

    project: str
    view: str
    rows: int
    newest: datetime | None
    age_seconds: float | None
    objective_seconds: float | None
    state: Freshness


class Materialised(Entity):
    """What one materialisation wrote.

    Attributes:
        project: Name of the project; '' for none.
        view: Name of the view.
        keys: Number of keys whose newest fact was written.
        since: Facts that were known before were not read; None where all were.
        until: Facts that were known later were not read.
        newest: Event time of the newest fact that was written; None where none was.
    """

    project: str
    view: str
    keys: int
    since: datetime | None
    until: datetime
    newest: datetime | None


class EntityFeatures(Entity):
    """The features of one entity as they are stored now.

    Attributes:
        key: The entity as it was asked for: values by key.
        features: Values by feature; None where a value is missing, older than the view's ``ttl``,
            or not stored.
        age_seconds: Seconds since the event that the features tell of; None where none is stored
            that still counts.
    """

    key: dict[str, Any]
    features: dict[str, Any]
    age_seconds: float | None


class FeaturesMaterialised(Event):
    """The newest facts of a feature view were written into the online store."""

    project: str
    view: str
    keys: int
    until: datetime

    @property
    def subject(self) -> str:
        return f"features:{self.project}/{self.view}"


class FeaturesErased(Event):
    """Entities' features were erased from the online store; their keys are not told."""

    project: str
    view: str
    keys: int

    @property
    def subject(self) -> str:
        return f"features:{self.project}/{self.view}"
