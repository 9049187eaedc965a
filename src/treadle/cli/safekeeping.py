"""The verbs that keep a home safe: verify, backup, restore."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import Home, Json, console, markup, open_home, print_json, progress_bar
from treadle.cli.verbs import Session, add_verbs

if TYPE_CHECKING:
    from treadle.platform.verify.findings import Verification

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="TREADLE_BACKUP_KEY",
        help="The key file of encrypted backups: 32 random bytes. Keep a copy of it elsewhere.",
    ),
]
_SHOWN = 8


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, verify, backup, restore)


def verify(
    session: Session,
    path: Annotated[
        str | None,
        typer.Argument(
            show_default=False, help="An export, or where backups are; without it the home."
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Restore what another copy has. What is damaged is moved to HOME/damaged.",
        ),
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            show_default=False,
            help="Another blob store, another home or backups that are not encrypted, "
            "to repair from.",
        ),
    ] = None,
    key_file: KeyFile = None,
) -> None:
    """Check everything that a home holds, and name what damage affects: exit code 1 where there is.

    A home may be in use meanwhile; of a server (--url), the event log is checked.
    """
    from treadle.platform.verify.findings import Collected

    with progress_bar(session.json) as progress:
        if path is not None:
            from treadle.platform.verify.folders import verify_path

            result = verify_path(path, key_file, progress)
        elif session.remote:
            found = Collected(progress)
            chain = session.services().events.verify()
            found.count("events", chain.entries)
            if not chain.intact:
                found.find("the event log", f"It is broken at event {chain.broken_at}.")
            found.note(
                "Of a server the event log is checked; run this on its machine for the rest."
            )
            result = found.result()
        else:
            result = _verify_home(session.home, repair, source, progress)
    if session.json:
        print_json({**_plain(result), "failed": result.failed})
    else:
        _print(result)
    if result.failed:
        raise typer.Exit(1)


def backup(
    url: Annotated[str, typer.Argument(help="A folder, file:///FOLDER or s3://BUCKET/PREFIX.")],
    key_file: KeyFile = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Back a home up while it is live. Only what is not there yet is copied.

    With --key-file all is encrypted, and the home's signing key is in the backup; without, keep
    HOME/.signing.key apart.
    """
    from treadle.platform.backup.store import Store
    from treadle.platform.backup.write import write_backup

    with open_home(home) as platform, progress_bar(json) as progress:
        made = write_backup(platform, Store(url, key_file, make=True), progress)
    if json:
        print_json(made)
    else:
        console.print(
            f"Backed up {made.rows:,} rows, {made.contents:,} contents and {made.files:,} files, "
            f"up to event {made.event:,}, to {made.url}: {made.copied:,} new "
            f"({made.bytes:,} bytes).",
            markup=False,
            soft_wrap=True,
        )
        if not made.encrypted:
            console.print(
                "It is not encrypted, and the key that signs approvals is not in it: "
                "keep HOME/.signing.key apart.",
                soft_wrap=True,
            )
        for digest in made.left_out:
            console.print(f"Left out, for it is damaged: content {digest}", soft_wrap=True)
    if made.failed:
        raise typer.Exit(1)


def restore(
    url: Annotated[str, typer.Argument(help="Where the backups are.")],
    home: Annotated[Path, typer.Option("--home", help="The new home, absent or empty.")],
    until: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default=False,
            help="Restore the newest backup that holds no event after this number. "
            "Nothing between two backups can be restored.",
        ),
    ] = None,
    database: Annotated[
        str, typer.Option(help="An empty database, such as postgresql://… (default: SQLite).")
    ] = "",
    blobs: Annotated[
        str, typer.Option(help="Where contents go, such as s3://… (default: the home's disk).")
    ] = "",
    signing_key: Annotated[
        Path | None,
        typer.Option("--signing-key", help="The home's .signing.key, where it was kept apart."),
    ] = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Restore a backup into a new home, and check all of it before saying so."""
    from treadle.platform.backup.restore import restore_backup
    from treadle.platform.backup.store import Store

    with progress_bar(json) as progress:
        restored = restore_backup(
            Store(url, key_file),
            home,
            until=until,
            database=database,
            blobs=blobs,
            key=signing_key,
            progress=progress,
        )
    if json:
        print_json(restored)
        return
    console.print(
        f"Restored {restored.rows:,} rows, {restored.contents:,} contents and "
        f"{restored.files:,} files, up to event {restored.event:,} "
        f"({restored.at:%Y-%m-%d %H:%M} UTC), to '{restored.home}', and checked all of it.",
        markup=False,
        soft_wrap=True,
    )
    if not restored.key:
        console.print(
            "The backup holds no signing key and none was given (--signing-key): the home has a "
            "new one, with which old approvals cannot be verified.",
            soft_wrap=True,
        )


def _verify_home(home: Path, repair: bool, source: str | None, progress: object) -> "Verification":
    from treadle.kernel.errors import Invalid, NotFound
    from treadle.platform.verify.check import verify_home
    from treadle.platform.verify.sources import stores_at

    if not home.is_dir():
        raise NotFound(f"There is no home at '{home}'. Name one with --home.")
    if source is not None and not repair:
        raise Invalid("--from is what --repair restores from. Say --repair too.")
    sources = stores_at(source) if source else []
    return verify_home(home, repair=repair, sources=sources, progress=progress)  # type: ignore[arg-type]


def _plain(result: "Verification") -> dict[str, object]:
    from treadle.kernel.entity import fields

    return fields(result)


def _print(result: "Verification") -> None:
    checked = ", ".join(f"{count:,} {what}" for what, count in result.checked.items() if count)
    console.print(f"Checked {checked}.", markup=False, soft_wrap=True)
    for finding in result.findings:
        style = "green" if finding.repaired else "red"
        word = "repaired" if finding.repaired else "damaged"
        console.print(
            f"[{style}]{word}[/]  {markup(finding.thing)}: {markup(finding.wrong)}",
            soft_wrap=True,
        )
        for affected in finding.affects[:_SHOWN]:
            console.print(f"    affects {affected}", markup=False, soft_wrap=True)
        if len(finding.affects) > _SHOWN:
            console.print(f"    and {len(finding.affects) - _SHOWN:,} more (--json names all)")
        console.print(f"    {finding.remedy}", markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    damaged = sum(not finding.repaired for finding in result.findings)
    console.print(f"{damaged:,} things are damaged." if damaged else "All is well.")
