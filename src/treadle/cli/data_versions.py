"""The verbs of dataset versions: add, status, log, diff, checkout."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.data_places import (
    MOST_SHOWN,
    Name,
    OneName,
    Version,
    blobs_for,
    index_of,
    make_home,
    owner_of,
    places_of,
    telling,
    versions_of,
)
from treadle.cli.output import console, markup, print_json, print_table, show_bytes
from treadle.cli.verbs import Project, Session
from treadle.kernel.errors import Invalid, NotFound

if TYPE_CHECKING:
    from treadle.data.folder import FolderChanges
    from treadle.data.model import DatasetVersion
    from treadle.platform.stages import Services


def add(
    session: Session,
    name: Name,
    path: Annotated[
        Path | None, typer.Argument(help="File or folder (default: as treadle.toml says).")
    ] = None,
    project: Project = None,
    digest: Annotated[
        str | None, typer.Option(help="Record content that is stored already, by its digest.")
    ] = None,
) -> None:
    """Record the content of a file or folder as a version; unchanged files are not read again."""
    from treadle.data.folder import store
    from treadle.data.stat_index import Places, StatIndex

    make_home(session)
    services = session.services()
    owner = owner_of(services, project)
    read = 0
    if digest is not None:
        version = services.data.add(project=owner, name=name, digest=digest)
    elif path is None and (checked := _checked(services, owner, name)):
        version = checked
    else:
        with index_of(session) as index, telling(session, "added") as progress:
            blobs = blobs_for(services, owner)
            source = path or places_of(services, index, owner).get(name)
            if source is None:
                raise Invalid(f"Which files? Name them: treadle data add {name} PATH")
            stored = store(blobs, source, StatIndex(index, source), progress)
            version = services.data.add(project=owner, name=name, digest=stored.digest)
            Places(index, blobs.url).note(owner, name, source)
            read = stored.read
    if session.json:
        print_json(version)
        return
    size = markup(show_bytes(version.bytes))
    told = f"{_files(version.files)}, {size}, {read:,} read"
    console.print(f"[bold]{markup(version.ref)}[/]: {told}", soft_wrap=True)


def status(session: Session, name: OneName = None, project: Project = None) -> None:
    """Say what has changed in the folders of datasets since their newest versions."""
    from treadle.data.folder import status as compare
    from treadle.data.stat_index import StatIndex

    services = session.services()
    owner = owner_of(services, project)
    found: dict[str, dict[str, object]] = {}
    with index_of(session) as index, telling(session, "looked at") as progress:
        places = places_of(services, index, owner)
        if name is not None and name not in places:
            raise NotFound(
                f"It is not known where the files of '{name}' are. Add them with "
                "'treadle data add NAME PATH', or check a version out."
            )
        for each, path in sorted(places.items()):
            if name not in (None, each):
                continue
            versions = services.data.versions(project=owner, name=each)
            if not versions or not path.exists():
                found[each] = {"path": str(path), "version": None}
                continue
            blobs, digest = blobs_for(services, owner), versions[0].digest
            changes = compare(blobs, digest, path, StatIndex(index, path), progress)
            found[each] = {"path": str(path), "version": versions[0].ref, "changes": changes}
    if session.json:
        print_json(found)
    elif not found:
        console.print("No dataset has files here. Add one: treadle data add NAME PATH")
    else:
        _print_status(found)


def log(
    session: Session,
    name: Name,
    project: Project = None,
    limit: Annotated[int, typer.Option(min=1, help="The most versions.")] = 20,
) -> None:
    """List the versions of a dataset, newest first, with what changed from each to the next."""
    services = session.services()
    owner = owner_of(services, project)
    versions = versions_of(services, owner, name)[: limit + 1]
    rows = []
    for index, version in enumerate(versions[:limit]):
        older = versions[index + 1] if index + 1 < len(versions) else None
        changes = (
            services.data.changes(project=owner, name=name, old=older.digest, new=version.digest)
            if older
            else None
        )
        rows.append((version, changes))
    if session.json:
        print_json([{"version": version, "changes": changes} for version, changes in rows])
        return
    cells = [
        (
            version.ref,
            version.files,
            show_bytes(version.bytes),
            version.created_at,
            _summary(changes) if changes else "first",
        )
        for version, changes in rows
    ]
    print_table("", ("version", "files", "size", "recorded", "changes"), cells)


def diff(
    session: Session,
    old: Version,
    new: Annotated[
        str | None, typer.Argument(help="The later version (default: the newest).")
    ] = None,
    project: Project = None,
) -> None:
    """List the files that are new, gone or different between two versions of a dataset."""
    from treadle.data.version_names import choose, split

    services = session.services()
    owner = owner_of(services, project)
    name, which = split(old)
    later, newer = split(new or name)
    if new is not None and "@" not in new and later != name:
        later, newer = name, new
    if later != name:
        raise Invalid(f"'{name}' and '{later}' are two datasets; versions of one are compared.")
    versions = versions_of(services, owner, name)
    first = choose(versions, which or ("~1" if new is None and len(versions) > 1 else ""))
    second = choose(versions, newer)
    changes = services.data.changes(project=owner, name=name, old=first.digest, new=second.digest)
    if session.json:
        print_json({"old": first, "new": second, "changes": changes})
        return
    console.print(f"{markup(first.ref)} → {markup(second.ref)}: {markup(_summary(changes))}")
    _print_changes(changes)


def checkout(
    session: Session,
    version: Version,
    folder: Annotated[Path | None, typer.Argument(help="Where to (default: where it is).")] = None,
    project: Project = None,
    force: Annotated[bool, typer.Option("--force", help="Lose files that no version has.")] = False,
) -> None:
    """Make a folder hold a version of a dataset: files that are as they should be stay."""
    from treadle.data.checkout import checkout as make
    from treadle.data.stat_index import Places, StatIndex
    from treadle.data.version_names import choose, split

    services = session.services()
    owner = owner_of(services, project)
    name, which = split(version)
    chosen = choose(versions_of(services, owner, name), which)
    with index_of(session) as index, telling(session, "written") as progress:
        blobs = blobs_for(services, owner)
        place = folder or places_of(services, index, owner).get(name)
        if place is None:
            raise Invalid(f"Name the folder: treadle data checkout {name} FOLDER")
        known = StatIndex(index, place)
        done = make(blobs, chosen.digest, place, known, force=force, progress=progress)
        if folder is not None:
            Places(index, blobs.url).note(owner, name, place)
    if session.json:
        print_json({"version": chosen, "folder": str(place), "changes": done})
        return
    written, removed = len(done.removed) + len(done.changed), len(done.added)
    console.print(
        f"[bold]{markup(chosen.ref)}[/] is in {markup(str(place))}: {written:,} written, "
        f"{removed:,} removed, {done.same:,} as they were",
        soft_wrap=True,
    )


def _checked(services: "Services", project: str, name: str) -> "DatasetVersion | None":
    """Take a version of declared files with declared checks; none where there are none here."""
    from treadle.data.local import LocalData

    if not isinstance(services.data, LocalData):
        return None
    try:
        data = services.scope.project(name=project).spec.data
    except NotFound:
        return None
    return services.data.take(project, name) if name in data and data[name].checks else None


def _print_status(found: dict[str, dict[str, object]]) -> None:
    for name, known in found.items():
        told = markup(f"{name}: {known['path']}")
        if known["version"] is None:
            is_there = Path(str(known["path"])).exists()
            console.print(f"{told}: {'not added yet' if is_there else 'not there'}")
            continue
        changes: FolderChanges = known["changes"]  # type: ignore[assignment]
        since = f"{_summary(changes)} since {known['version']}"
        console.print(f"{told}: {markup(since)}", soft_wrap=True)
        _print_changes(changes)


def _print_changes(changes: "FolderChanges") -> None:
    kinds = (("+", changes.added), ("-", changes.removed), ("~", changes.changed))
    for sign, paths in kinds:
        for path in paths[:MOST_SHOWN]:
            console.print(f"  {sign} {markup(path)}", soft_wrap=True)
        if len(paths) > MOST_SHOWN:
            console.print(f"  {sign} … {len(paths) - MOST_SHOWN:,} more")


def _summary(changes: "FolderChanges") -> str:
    if not changes.any:
        return "nothing has changed"
    counts = (
        f"{len(changes.added):,} added",
        f"{len(changes.removed):,} removed",
        f"{len(changes.changed):,} changed",
    )
    more = f" ({changes.more:,} more)" if changes.more else ""
    return ", ".join(counts) + more


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
