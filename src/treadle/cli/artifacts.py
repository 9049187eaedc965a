"""The verbs for what is attached to runs: list it, and get it."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from treadle.cli.output import console, print_json, print_table, progress_bar, show_bytes
from treadle.cli.runs import RunRef
from treadle.cli.verbs import Session, add_group

if TYPE_CHECKING:
    from treadle.ports.blobs import Blobs
    from treadle.tracking.model import Artifact, Run


class Stored(NamedTuple):
    """A file to get: its content, and the stored folder that names it ('' for none)."""

    digest: str
    bytes: int
    tree: str


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_group(app, "artifacts", "List and get what is attached to a run.", list_, get)


def list_(session: Session, run: RunRef) -> None:
    """List what is attached to a run: its path, its size and its digest."""
    tracking = session.services().tracking
    found = tracking.resolve(ref=run)
    artifacts = tracking.artifacts(run=found.id)
    if session.json:
        print_json(artifacts)
        return
    if not artifacts:
        console.print(f"Nothing is attached to run '{found.name}'.", markup=False)
        return
    rows = [(each.path, show_bytes(each.bytes), each.digest[:12]) for each in artifacts]
    print_table("", ("path", "size", "digest"), rows)


def get(
    session: Session,
    run: RunRef,
    path: Annotated[str, typer.Argument(help="What to get: a file or a folder of the run's.")],
    dest: Annotated[Path, typer.Argument(help="The folder to write it into.")] = Path(),
    over: Annotated[
        bool, typer.Option("--over", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Write a run's artifact, a file or a folder, into a folder of yours."""
    services = session.services()
    found = services.tracking.resolve(ref=run)
    artifacts = services.tracking.artifacts(run=found.id)
    dest.mkdir(parents=True, exist_ok=True)
    with (
        progress_bar(session.json) as tell,
        tempfile.TemporaryDirectory(dir=dest, prefix=".treadle-") as folder,
    ):
        staging = _Staging(services.blobs, Path(folder))
        files = _wanted(staging, artifacts, path.strip("/"), found)
        targets = {name: _target(dest, path, name, over=over) for name in files}
        _write(staging, files, targets, tell)
    if session.json:
        print_json({"run": found.id, "files": [str(target) for target in targets.values()]})
    else:
        console.print(f"Wrote {_counted(len(targets))} into '{dest}'.", markup=False)


class _Staging:
    """Contents on their way: each is fetched once, into a folder beside where it goes.

    Args:
        blobs: Where contents are stored.
        folder: The folder.
    """

    def __init__(self, blobs: "Blobs", folder: Path) -> None:
        self.blobs, self._folder = blobs, folder

    def file(self, digest: str, tree: str = "") -> Path:
        """The file with a content.

        Args:
            digest: Digest of the content.
            tree: Digest of the stored folder that names it.
        """
        from treadle.ports.blobs import asked_for

        path = self._folder / digest
        if not path.exists():
            blobs = asked_for(self.blobs, tree=tree) if tree else self.blobs
            blobs.fetch(digest, path)
        return path


def _wanted(
    staging: _Staging, artifacts: "list[Artifact]", path: str, run: "Run"
) -> dict[str, Stored]:
    """The run's files at a path and below it, by their paths among its artifacts."""
    from treadle.kernel.errors import NotFound, did_you_mean

    related = [one for one in artifacts if _is_at(one.path, path) or _is_at(path, one.path)]
    files: dict[str, Stored] = {}
    for artifact in related:
        files |= _files_of(staging, artifact)
    wanted = {name: file for name, file in files.items() if _is_at(name, path)}
    if not wanted:
        near = did_you_mean(path, [*files, *(artifact.path for artifact in artifacts)])
        raise NotFound(
            f"Run '{run.name}' has no artifact '{path}'.{near or ' Nothing is attached to it.'}"
        )
    return wanted


def _is_at(name: str, path: str) -> bool:
    """Whether a path is another one or lies below it."""
    return f"{name}/".startswith(f"{path}/")


def _files_of(staging: _Staging, artifact: "Artifact") -> dict[str, Stored]:
    """An artifact's files by path: one, or those of a stored folder.

    A folder is stored as a manifest, which has another size than its files together.
    """
    from treadle.ports.tree import read_tree

    if staging.file(artifact.digest).stat().st_size == artifact.bytes:
        return {artifact.path: Stored(artifact.digest, artifact.bytes, "")}
    tree = read_tree(staging.blobs, artifact.digest)
    return {
        f"{artifact.path}/{name}": Stored(file.digest, file.bytes, artifact.digest)
        for name, file in tree.files.items()
    }


def _target(dest: Path, path: str, name: str, *, over: bool) -> Path:
    """Where a file goes: as ``cp -r`` would put it.

    The run's server chose the name, so it is refused where it leads out of the destination.
    """
    from treadle.kernel.errors import Conflict, Forbidden

    asked = PurePosixPath(path.strip("/"))
    inner = PurePosixPath(name).relative_to(asked.parent)
    target = dest / inner
    outside = ".." in inner.parts or not target.resolve().is_relative_to(dest.resolve())
    if inner.is_absolute() or outside:
        raise Forbidden(f"'{name}' would be written outside of '{dest}'; nothing was written.")
    if target.exists() and not over:
        raise Conflict(f"'{target}' is there already; nothing was written. Replace it with --over.")
    return target


def _write(
    staging: _Staging,
    files: dict[str, Stored],
    targets: dict[str, Path],
    tell: Callable[[str, int, int], None],
) -> None:
    """Fetch the files and put each in its place, telling the bytes that are done."""
    total, done = sum(file.bytes for file in files.values()), 0
    for name, file in files.items():
        tell(name, done, total)
        staged = staging.file(file.digest, file.tree)
        targets[name].parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staged, targets[name])
        done += file.bytes
    tell("", done, total)


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"
