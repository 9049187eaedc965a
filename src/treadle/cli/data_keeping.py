"""The verbs that keep dataset versions: push, pull, rm, gc, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from treadle.cli.data_places import (
    MOST_SHOWN,
    OneName,
    Version,
    blobs_for,
    make_home,
    owner_of,
    store_at,
    telling,
    users_of,
    versions_of,
)
from treadle.cli.output import console, markup, print_json, progress_bar, show_bytes
from treadle.cli.verbs import Project, Session
from treadle.kernel.errors import Invalid, NotFound

if TYPE_CHECKING:
    from treadle.data.model import DatasetVersion
    from treadle.ports.blobs import Blobs

Store = Annotated[
    str, typer.Argument(help="A store: file:///FOLDER, or s3://BUCKET/PREFIX?endpoint=…")
]


def push(session: Session, version: Version, store: Store, project: Project = None) -> None:
    """Copy a version to another store, under its name; what is there is not sent again."""
    from treadle.data.version_names import choose, split
    from treadle.ports.blobs import Catalogue

    services = session.services()
    owner = owner_of(services, project)
    name, which = split(version)
    chosen = choose(versions_of(services, owner, name), which)
    target = store_at(store)
    sent = _copied(session, blobs_for(services, owner), target, chosen.digest)
    if isinstance(target, Catalogue):
        target.note_name(name, chosen.digest)
    _print_copied(session, chosen, sent, "sent")


def pull(session: Session, version: Version, store: Store, project: Project = None) -> None:
    """Take a version from another store: the one that was pushed last, or NAME@DIGEST."""
    from treadle.data.version_names import split
    from treadle.ports.blobs import Catalogue

    make_home(session)
    services = session.services()
    owner = owner_of(services, project)
    name, which = split(version)
    source = store_at(store, there=True)
    named = source.named(name) if isinstance(source, Catalogue) else []
    known = named or (source.digests() if which else [])
    found = [digest for digest in known if digest.startswith(which)]
    if not found or (which and len(found) > 1):
        raise NotFound(
            f"{store} has {len(found) or 'no'} versions of '{name}'"
            f"{f' that begin with {which}' if which else ''}. Push one with 'treadle data push', "
            "or name one by the first digits of its digest: NAME@DIGEST"
        )
    taken = _copied(session, source, blobs_for(services, owner), found[0])
    recorded = services.data.add(project=owner, name=name, digest=found[0])
    _print_copied(session, recorded, taken, "taken")


def export(
    session: Session,
    version: Version,
    to: Annotated[Path, typer.Argument(help="A DVC repository, or the file to write.")],
    format: Annotated[
        Literal["dvc", "croissant"],
        typer.Option(metavar="[dvc|croissant]", help="What is written."),
    ] = "dvc",
    project: Project = None,
) -> None:
    """Write a version into a DVC repository, or its description as Croissant's JSON-LD."""
    from treadle.data.version_names import choose, split
    from treadle.interop.croissant import described
    from treadle.interop.dvc import write_dvc
    from treadle.kernel.entity import to_json
    from treadle.kernel.files import write_whole

    services = session.services()
    owner = owner_of(services, project)
    name, which = split(version)
    chosen = choose(versions_of(services, owner, name), which)
    blobs = blobs_for(services, owner)
    if format == "dvc":
        file = write_dvc(blobs, chosen.digest, to, name)
    else:
        file = to
        write_whole(file, to_json(described(blobs, chosen)) + b"\n")
    if session.json:
        print_json({"version": chosen, "file": str(file)})
    else:
        console.print(f"{chosen.ref} → {file}", markup=False, soft_wrap=True)


def rm(
    session: Session,
    version: Version,
    project: Project = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although a model has learnt from it.")
    ] = False,
) -> None:
    """Remove a version, or all versions of a dataset; 'gc' gives the room back."""
    from treadle.data.version_names import choose, split
    from treadle.kernel.errors import Conflict

    services = session.services()
    owner = owner_of(services, project)
    name, which = split(version)
    versions = versions_of(services, owner, name)
    chosen = [choose(versions, which)] if which else versions
    for each in chosen:
        users = users_of(services, each)
        if users and not force:
            raise Conflict(
                f"{each.ref} made {', '.join(users)}, which could not be made again without it. "
                "Remove it all the same with --force."
            )
    for each in chosen:
        services.data.remove(project=owner, name=name, digest=each.digest)
    if session.json:
        print_json(chosen)
    else:
        console.print(f"Removed: {markup(', '.join(each.ref for each in chosen))}")


def gc(
    session: Session,
    older_than: Annotated[
        str, typer.Option(help="Keep what was added within this time, such as 1h.")
    ] = "1h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
) -> None:
    """Remove the content of removed versions that nothing else names."""
    from treadle.cli.output import open_home
    from treadle.kernel.clock import duration
    from treadle.platform.collect import collect

    if session.remote:
        raise Invalid("Content is removed on the machine of the home: treadle data gc --home HOME")
    with open_home(session.home) as platform, progress_bar(session.json) as progress:
        seconds = duration(older_than).total_seconds()
        found = collect(platform, older_than_seconds=seconds, dry_run=dry_run, progress=progress)
    if session.json:
        print_json(found)
        return
    what = "would be removed" if dry_run else f"removed; {show_bytes(found.freed)} given back"
    kept = f"; {found.young:,} kept that were added within {older_than}" if found.young else ""
    told = f"{found.contents:,} contents of {show_bytes(found.bytes)} {what}{kept}"
    console.print(told, markup=False, soft_wrap=True)


def verify(session: Session, name: OneName = None, project: Project = None) -> None:
    """Read all content of dataset versions, and say which versions and models damage affects."""
    from treadle.data.integrity import damage_in

    services = session.services()
    owner = owner_of(services, project)
    versions = services.data.versions(project=owner, name=name)
    with telling(session, "read") as progress:
        wrong = damage_in(blobs_for(services, owner), versions, progress)
    told = [
        {
            "version": version.ref,
            "damage": damage,
            "models": users_of(services, version),
        }
        for version in versions
        if (damage := wrong[version.digest])
    ]
    if session.json:
        print_json({"versions": len(versions), "damaged": told})
    else:
        for each in told:
            models = ", ".join(each["models"]) or "no model"
            console.print(f"[bold red]{markup(str(each['version']))}[/] (made {markup(models)}):")
            for one in each["damage"][:MOST_SHOWN]:
                console.print(f"  {markup(one)}", soft_wrap=True)
        console.print(f"{len(versions):,} versions read, {len(told):,} damaged")
    if told:
        raise typer.Exit(1)


def _copied(session: Session, source: "Blobs", target: "Blobs", digest: str) -> int:
    from treadle.data.transfer import copy_version

    with telling(session, "looked at") as progress:
        return copy_version(source, target, digest, progress)


def _print_copied(session: Session, version: "DatasetVersion", size: int, what: str) -> None:
    if session.json:
        print_json({"version": version, "bytes": size})
    else:
        console.print(f"[bold]{markup(version.ref)}[/]: {markup(show_bytes(size))} {what}")
