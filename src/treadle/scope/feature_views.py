"""Table ``[features.NAME]``: a feature view, as a project declares it."""

import re
from collections.abc import Callable, Mapping

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid


class FeatureSource(Entity):
    """Table ``[features.NAME]``: features of one kind of entity, and when they were known.

    Attributes:
        source: Name of a dataset of the project, or path or glob of files in its folder.
        keys: Columns that name the entity; empty for features that are the same for all.
        at: Column with the time of the event.
        created_at: Column with the time at which a row arrived, if there is one.
        ttl: How long features are valid after their event, as a duration; empty for ever.
        sql: A ``SELECT`` over ``source`` that gives the rows; empty for the source itself.
        columns: The columns that are features; by default all others.
        freshness: The largest age of the newest row that is still good, as a duration; empty for no
            objective.
    """

    source: str
    keys: list[str]
    at: str
    created_at: str = ""
    ttl: str = ""
    sql: str = ""
    columns: list[str] = []
    freshness: str = ""


def check_features(
    views: Mapping[str, FeatureSource],
    datasets: Mapping[str, object],
    check_path: Callable[[str, str], None],
) -> None:
    """Check what the types of feature views cannot express.

    Args:
        views: The views by name.
        datasets: The project's datasets by name.
        check_path: Refuses a path that leaves the project's folder; takes it and its field.

    Raises:
        Invalid: A value is not allowed. The error names its field.
    """
    for name, view in views.items():
        field = f"features.{name}"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", name):
            raise Invalid(
                f"Field '{field}': name it with letters, digits, hyphens and underscores, 63 at "
                "most."
            )
        if view.source not in datasets:
            check_path(view.source, f"{field}.source")
        if not view.at:
            raise Invalid(f"Field '{field}.at': name the column with the time of the event.")
        for key in ("ttl", "freshness"):
            text = getattr(view, key)
            try:
                length = duration(text) if text else None
            except Invalid as error:
                raise Invalid(f"Field '{field}.{key}': {error.message}") from error
            if length is not None and not length:
                raise Invalid(f"Field '{field}.{key}': it must last longer than nothing.")
