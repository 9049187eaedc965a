"""What the verbs of dataset versions share: their arguments, and where things are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer

from treadle.cli import completing
from treadle.cli.output import progress_bar
from treadle.cli.verbs import Session, project_named
from treadle.kernel.errors import NotFound

if TYPE_CHECKING:
    from treadle.data.folder import Progress
    from treadle.data.model import DatasetVersion
    from treadle.data.stat_index import Connection
    from treadle.platform.stages import Services
    from treadle.ports.blobs import Blobs

Name = Annotated[str, typer.Argument(help="A dataset.", autocompletion=completing.DATASETS)]
OneName = Annotated[
    str | None,
    typer.Argument(help="A dataset (default: all).", autocompletion=completing.DATASETS),
]
Version = Annotated[
    str,
    typer.Argument(
        help="A dataset, or NAME@VERSION: first digits of a digest, ~1, or a date.",
        autocompletion=completing.DATASETS,
    ),
]
NOBODY = "default"
"""The project of datasets that are added where no project is known."""
MOST_SHOWN = 20


def make_home(session: Session) -> None:
    """Make the home where there is none yet: the first dataset needs no other command before it."""
    if not session.remote and not session.home.exists():
        from treadle.platform.start import embedded

        with embedded(session.home):
            pass


def owner_of(services: "Services", project: str | None) -> str:
    """The project that datasets are of; where there is none, one that holds only data."""
    from treadle.scope.file import nearest

    if project is None and nearest(Path.cwd()) is None and not services.scope.projects():
        return NOBODY
    return project_named(services, project)


def blobs_for(services: "Services", project: str) -> "Blobs":
    """Return the store of the home or server, as a project's.

    Args:
        services: The services of the home or server.
        project: The project that what is put there is for.
    """
    from treadle.ports.blobs import asked_for

    return asked_for(services.blobs, project=project)


def store_at(url: str, *, there: bool = False) -> "Blobs":
    """Open another store.

    Args:
        url: A URL of a backend for blobs, or the path of a folder.
        there: Whether a folder must be there already; otherwise it is made.

    Raises:
        NotFound: There is no such folder.
    """
    from treadle.platform.addresses import backend, refuse_password

    refuse_password(url)
    if "://" not in url:
        url = Path(url).absolute().as_uri()
    folder = Path(unquote(urlsplit(url).path))
    if there and url.startswith("file:") and not folder.is_dir():
        raise NotFound(f"There is no store at '{folder}'.")
    opened: Blobs = backend("blobs", url)
    return opened


@contextmanager
def index_of(session: Session) -> "Iterator[Connection]":
    """Open the index of the files on this machine.

    Args:
        session: The verb's session; a home keeps it in its cache, a server's client in the user's.
    """
    from treadle.data.service import INDEX
    from treadle.data.stat_index import opened
    from treadle.platform.settings import user_cache

    folder = user_cache() if session.remote else session.home / "cache"
    with opened(folder / INDEX) as index:
        yield index


@contextmanager
def telling(session: Session, what: str) -> "Iterator[Progress]":
    """Show a bar while files are gone through; yields a function that takes their number so far.

    Args:
        session: The verb's session.
        what: What happens to them, such as ``added``.
    """
    with progress_bar(session.json) as progress:
        yield lambda done: progress(f"{done:,} files {what}", done, done)


def places_of(services: "Services", index: "Connection", project: str) -> dict[str, Path]:
    """Where the datasets' files are: as they were added from, else as they are declared."""
    from treadle.data.stat_index import Places
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    places: dict[str, Path] = {}
    if folder is not None and (spec := read(folder)).project.name == project:
        places = {name: folder / source.source for name, source in spec.data.items()}
    return {**places, **Places(index, services.blobs.url).of(project)}


def versions_of(services: "Services", project: str, name: str) -> "list[DatasetVersion]":
    """Return the versions of a dataset, newest first.

    Args:
        services: The services of the home or server.
        project: The dataset's project.
        name: Name of the dataset.

    Raises:
        NotFound: There is none.
    """
    from treadle.kernel.errors import did_you_mean

    versions = services.data.versions(project=project, name=name)
    if not versions:
        known = {version.name for version in services.data.versions(project=project)}
        raise NotFound(
            f"Project '{project}' has no version of a dataset '{name}'."
            f"{did_you_mean(name, known)} Add one: treadle data add {name} PATH"
        )
    return versions


def users_of(services: "Services", version: "DatasetVersion") -> list[str]:
    """Return the model versions that learnt from a dataset version.

    Args:
        services: The services of the home or server.
        version: The dataset version.
    """
    try:
        return [user.version for user in services.lineage.seen(data=version.digest)]
    except NotFound:
        return []
