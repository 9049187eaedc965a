"""Feature views as ``treadle.toml`` declares them."""

from collections.abc import Sequence
from pathlib import Path

from treadle.features.views import FeatureView
from treadle.kernel.errors import NotFound, did_you_mean
from treadle.scope.file import FILE, nearest, read
from treadle.scope.model import ProjectSpec


def declared_views(folder: str | Path | None, names: Sequence[str] = ()) -> dict[str, FeatureView]:
    """Read the views of a project's folder.

    Args:
        folder: The folder with the ``treadle.toml``; None takes the nearest one at or above the
            present folder.
        names: Names that must be among them.

    Raises:
        NotFound: There is no ``treadle.toml``, or none of the views has one of the names.
        Invalid: The file is malformed.
    """
    found = nearest(Path.cwd()) if folder is None else Path(folder)
    if found is None:
        raise NotFound(f"There is no {FILE} at or above '{Path.cwd()}' that declares views.")
    spec = read(found)
    views = views_of(spec, found)
    for name in names:
        if name not in views:
            raise NotFound(
                f"Project '{spec.project.name}' declares no feature view '{name}'."
                f"{did_you_mean(name, views)}"
            )
    return views


def views_of(spec: ProjectSpec, folder: Path) -> dict[str, FeatureView]:
    """The views of a project by name.

    Args:
        spec: What the project declares.
        folder: Its folder, where sources are.

    Raises:
        Invalid: A view is not valid.
    """
    views = {}
    for name, declared in spec.features.items():
        dataset = spec.data.get(declared.source)
        views[name] = FeatureView(
            name=name,
            source=str(folder / (dataset.source if dataset else declared.source)),
            keys=declared.keys,
            at=declared.at,
            created_at=declared.created_at,
            ttl=declared.ttl,
            sql=declared.sql,
            columns=declared.columns,
            freshness=declared.freshness,
            project=spec.project.name,
        )
    return views
