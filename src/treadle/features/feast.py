"""Takes over feature views that are defined with Feast, from its own objects.

Nothing of Feast is imported here: it gives the objects, in the environment where it is installed.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from treadle.features.views import FeatureView
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name

_NO_ENTITY = "__dummy"
"""What Feast calls the entity, and its key with two more characters, of features that have none."""


def views_of_store(store: Any) -> list[FeatureView]:
    """Take over all feature views of a Feast repository.

    Args:
        store: A ``feast.FeatureStore``, such as ``FeatureStore(repo_path="feature_repo")``.

    Returns:
        The views, by their names.

    Raises:
        Invalid: One of them has a source that is no file.
    """
    folder = Path(getattr(store, "repo_path", None) or ".")
    views = [view_of(view, folder=folder) for view in store.list_feature_views()]
    return sorted(views, key=lambda view: view.name)


def view_of(view: Any, *, folder: str | Path = ".") -> FeatureView:
    """Take over one feature view of Feast.

    Its file, its join keys, its two times, its time to live and its features come along;
    transforms, tags and stream sources do not.

    Args:
        view: A ``feast.FeatureView`` over a ``FileSource``.
        folder: The folder of the repository, to which relative paths belong.

    Raises:
        Invalid: Its source is no file.
    """
    source = view.batch_source
    path = getattr(source, "path", "")
    if not path:
        raise Invalid(
            f"Feast's view '{view.name}' reads a {type(source).__name__}. Only files are taken "
            "over: export the table as Parquet and name that."
        )
    renamed = dict(getattr(source, "field_mapping", None) or {})
    at, created_at = source.timestamp_field, source.created_timestamp_column or ""
    keys = [key for key in view.join_keys if not key.startswith(_NO_ENTITY)]
    return FeatureView(
        name=view.name,
        source=str(_local(path, Path(folder))),
        keys=keys,
        at=renamed.get(at, at),
        created_at=renamed.get(created_at, created_at),
        ttl=_ttl(view.ttl),
        sql=_renaming(renamed),
        columns=[feature.name for feature in view.features],
    )


def _local(path: str, folder: Path) -> Path:
    """The path of a file; one that is relative lies in the repository's folder."""
    path = path.removeprefix("file://")
    if "://" in path:
        raise Invalid(f"'{path}' is no file of this machine. Copy it here and name the copy.")
    return folder / path


def _ttl(ttl: timedelta | None) -> str:
    """A time to live as a duration; Feast means no limit by zero."""
    return f"{int(ttl.total_seconds())}s" if ttl else ""


def _renaming(columns: dict[str, str]) -> str:
    """The query that renames columns; empty where none is renamed."""
    if not columns:
        return ""
    pairs = ", ".join(f"{sql_name(old)} AS {sql_name(new)}" for old, new in columns.items())
    return f"SELECT * RENAME ({pairs}) FROM source"
