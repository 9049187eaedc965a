"""Restores a backup into a new home, and checks all of it before it says so."""

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from sqlalchemy import text

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound
from treadle.kernel.files import write_whole
from treadle.platform.addresses import backend
from treadle.platform.backup.manifest import Manifest, manifest_fault
from treadle.platform.backup.store import Store
from treadle.platform.backup.tables import count_on, read_part, refuse_rows, schema_of, tables
from treadle.platform.seal import write_seal
from treadle.platform.settings import settings_for
from treadle.platform.signing import KEY, keys_in, read_keys, signing_keys
from treadle.platform.stages import BUILT_IN, stages, tables_of
from treadle.platform.verify.check import verify_home
from treadle.platform.verify.findings import Progress
from treadle.ports.blobs import Blobs, make_place
from treadle.ports.database import Database, create_tables

APPROVAL = "the approval of"


class Restored(Entity):
    """A home that was restored.

    Attributes:
        home: Its folder.
        backup: The name of the backup's manifest.
        at: When the backup was taken.
        event: The newest event that it holds.
        rows: How many rows of records were restored.
        contents: How many contents were restored.
        files: How many other files were restored.
        key: Whether the home has its signing key; without it old approvals cannot be verified.
        authentic: Whether the backup bears the signature of that key; None where there is no key.
    """

    home: str
    backup: str
    at: datetime
    event: int
    rows: int
    contents: int
    files: int
    key: bool
    authentic: bool | None


def restore_backup(
    store: Store,
    home: Path,
    *,
    until: int | None = None,
    database: str = "",
    blobs: str = "",
    key: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Restored:
    """Restore the newest backup, or the newest that holds no later event than one.

    Args:
        store: Where the backups are.
        home: The new home's folder, absent or empty.
        until: The number of the last event that is wanted.
        database: The URL of the database, which is empty; SQLite in the home by default.
        blobs: The URL of the blob store; the home's disk by default.
        key: The signing key, which only encrypted backups hold.
        progress: Called with what is restored, how many are done and how many there are.

    Returns:
        What was restored.

    Raises:
        Conflict: The home is not empty, or the database is not.
        NotFound: There is no such backup, or it lacks a content.
        Corrupt: The backup is damaged.
        Invalid: The backup is of another schema, or the key is none.
    """
    home = home.expanduser().resolve()
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Conflict(f"'{home}' is not an empty folder. Restore into a new home: --home NEW")
    name, manifest = pick(store, until)
    aside = home.with_name(f".{home.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        settings = settings_for(
            aside, database=database, blobs=blobs, manual_clock=manifest.manual_clock
        )
        _restore_files(store, manifest, aside, progress)
        authentic = _restore_key(manifest, aside, key)
        contents: Blobs = backend("blobs", settings.address("blobs"))
        make_place(contents)
        _restore_contents(store, manifest, contents, aside, progress)
        records: Database = backend("database", settings.address("database"))
        try:
            _restore_rows(store, manifest, records, authentic is not None, progress)
        finally:
            records.close()
        _check(aside, authentic is not None, progress)
        if home.exists():
            home.rmdir()
        aside.rename(home)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    settings_for(home)
    write_seal(home, read_keys(home))
    return Restored(
        home=str(home),
        backup=name,
        at=manifest.at,
        event=manifest.head.number,
        rows=sum(rows.rows for rows in manifest.tables.values()),
        contents=len(manifest.contents),
        files=len(manifest.files),
        key=authentic is not None,
        authentic=authentic,
    )


def pick(store: Store, until: int | None) -> tuple[str, Manifest]:
    """The newest backup, or the newest that holds no later event than one.

    Args:
        store: Where the backups are.
        until: The number of the last event that is wanted.

    Raises:
        NotFound: There is no such backup.
    """
    damaged: list[str] = []
    found = list(store.backups(broken=lambda _, error: damaged.append(error.message)))
    if not found and damaged:
        raise Corrupt(f"No backup at '{store.url}' can be read: {damaged[0]}")
    if not found:
        raise NotFound(f"There is no backup at '{store.url}'.")
    wanted = [one for one in found if until is None or one[1].head.number <= until]
    if not wanted:
        first = found[0][1].head.number
        raise NotFound(
            f"No backup ends at event {until} or before it: the oldest holds event {first} too."
        )
    return wanted[-1]


def _restore_rows(
    store: Store, manifest: Manifest, database: Database, keyed: bool, progress: Progress
) -> None:
    database.migrate()
    create_tables(database, tables_of(stage for stage in stages() if stage not in BUILT_IN))
    known = {table.name: table for table in tables()}
    with database.write() as transaction, tempfile.TemporaryDirectory() as folder:
        schema = schema_of(transaction)
        if schema != manifest.schema:
            raise Invalid(
                f"The backup has schema {manifest.schema}, written by Treadle {manifest.treadle}; "
                f"this one has {schema}. Restore it with that release, then upgrade."
            )
        unknown = set(manifest.tables) - set(known)
        if unknown:
            raise Invalid(
                f"The backup holds a table '{min(unknown)}' that this Treadle does not know: a "
                "package with a stage of its own is not installed."
            )
        refuse_rows(transaction)
        file = Path(folder, "part")
        for done, (name, rows) in enumerate(sorted(manifest.tables.items())):
            progress(f"table {name}", done, len(manifest.tables))
            count = 0
            for part in rows.parts:
                store.fetch(part, file)
                count += read_part(transaction, known[name], file)
            if count != rows.rows:
                raise Corrupt(f"Table '{name}' has {count:,} rows, and had {rows.rows:,}.")
            count_on(transaction, known[name], rows.last)
        if not keyed:  # the new home signs it with a key of its own
            transaction.execute(text("UPDATE event_heads SET signature = ''"))


def _restore_contents(
    store: Store, manifest: Manifest, blobs: Blobs, home: Path, progress: Progress
) -> None:
    with tempfile.TemporaryDirectory(dir=home, prefix=".") as folder:
        for done, stored in enumerate(manifest.contents, start=1):
            copy = Path(folder, "copy")
            store.fetch(stored, copy)
            if blobs.put(copy) != stored.digest:
                raise Corrupt(f"Content {stored.digest[:12]} could not be stored.")
            copy.unlink()
            progress("contents", done, len(manifest.contents))


def _restore_files(store: Store, manifest: Manifest, home: Path, progress: Progress) -> None:
    for done, (name, stored) in enumerate(sorted(manifest.files.items()), start=1):
        path = Path(name)
        if path.is_absolute() or ".." in path.parts:
            raise Corrupt(f"The backup names the file '{name}', which would leave the home.")
        store.fetch(stored, home / path)
        mode = 0o600 if name == KEY else 0o644
        (home / path).chmod(mode)
        progress("files", done, len(manifest.files))


def _restore_key(manifest: Manifest, home: Path, key: Path | None) -> bool | None:
    """Put the signing key in its place. Returns whether it has signed the backup."""
    if key is not None:
        content = key.read_bytes()
        try:
            keys_in(content, key)
        except Corrupt as error:
            raise Invalid(
                f"'{key}' is no signing key, nor a copy of a home's '{KEY}': it has "
                f"{len(content)} bytes, and not those that were written."
            ) from error
        write_whole(home / KEY, content, mode=0o600)
    if not (home / KEY).exists():
        signing_keys(home)  # a new one
        return None
    if fault := manifest_fault(manifest, read_keys(home)):
        raise Corrupt(
            f"The backup does not bear the signature of the home's signing key. {fault} Restore "
            "an earlier one (--until), or name the key that it was made with (--signing-key)."
        )
    return True


def _check(home: Path, keyed: bool, progress: Progress) -> None:
    """Check the restored home like any other; without its key approvals cannot be verified."""
    found = verify_home(home, progress=progress)
    damaged = [
        finding for finding in found.findings if keyed or not finding.thing.startswith(APPROVAL)
    ]
    if damaged:
        first = damaged[0]
        raise Corrupt(
            f"The restored home is not sound, and was removed again: {first.thing}: {first.wrong}"
        )
