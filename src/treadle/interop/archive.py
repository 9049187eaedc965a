"""Exports a home's whole history as Parquet and JSON files, and imports such an archive.

``tables/NAME.parquet`` is a table as it is, with its rows sorted by key. ``points/NNNNN.parquet``
holds every point of every metric in the order of arrival. ``blobs/`` holds every artifact, dataset
and model by content. Exports are deterministic: an archive that is imported and exported again is
equal to the byte. Rights are not exported: tokens and webhooks, which hold secrets, are left out.
"""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Table

from treadle.interop.archive_points import read_points, write_points
from treadle.interop.archive_tables import (
    count_on,
    read_table,
    refuse_history,
    set_head,
    write_table,
)
from treadle.interop.report import Progress
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound
from treadle.ports.blobs import Blobs, digest_of
from treadle.ports.database import Database, metadata
from treadle.tracking.tables import run_segments

FORMAT = 1
LEFT_OUT = ("access_tokens", "webhooks", "event_heads", run_segments.name)
"""Tables that are not written as they are: rights and secrets, what another home has signed, and
packed points."""
MANIFEST, README = "manifest.json", "README.md"
_ABOUT = """# A history, exported by Treadle {version}

| where | what |
|---|---|
| `tables/NAME.parquet` | one table each, rows by key. Moments are UTC. \
Columns of text that begin with `{{` or `[` are JSON. |
| `points/NNNNN.parquet` | every point of every metric: `run`, `key`, `step` (its whole part), \
`fraction` (of the step), `timestamp` (UTC), `value` (null is NaN), in the order they came |
| `blobs/XX/DIGEST` | contents by their BLAKE3 digest. \
`tables/artifacts.parquet` says which file of which run is which; \
a digest may be that of a folder: JSON that names the digest of each file |
| `manifest.json` | how many rows, points and contents there are, \
and the BLAKE3 digest of each file |

Read it with anything: `SELECT * FROM 'points/*.parquet' WHERE key = 'loss'` in DuckDB, \
`pandas.read_parquet` in Python.
Take it in with `treadle import treadle DIR --home NEW`. \
Tokens, webhooks and the key that signs approvals are not in here.
"""


class Manifest(Entity):
    """What an archive holds.

    Attributes:
        format: The version of the archive's layout.
        treadle: The version of Treadle that wrote it.
        tables: The number of rows of each table, by the table's name.
        points: The number of points of all metrics.
        blobs: The number of stored contents.
        bytes: The size of all stored contents, in bytes.
        files: The BLAKE3 digest of each file of tables and points, by its path in the archive;
            empty in archives of before there were any. Contents are named by their digests.
    """

    format: int
    treadle: str
    tables: dict[str, int]
    points: int
    blobs: int
    bytes: int
    files: dict[str, str] = {}


def export_archive(
    database: Database, blobs: Blobs, folder: Path, progress: Progress = lambda *_: None
) -> Manifest:
    """Write a home's history into an empty folder, as of the moment of the call.

    Args:
        database: The home's records; they are read in one snapshot.
        blobs: The home's stored contents.
        folder: Where to write; it is made if need be.
        progress: Called with what is written, how many are done and how many there are.

    Returns:
        What was written. It is in the archive too, and is written last: an archive without its
        manifest is incomplete.

    Raises:
        Conflict: The folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            f"'{folder}' is not an empty folder. "
            "Name a new one, so that nothing old is taken for new."
        )
    for name in ("tables", "points", "blobs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with database.snapshot() as connection:
        tables = _tables()
        counts = {}
        for done, table in enumerate(tables):
            progress(table.name, done, len(tables))
            file = folder / "tables" / f"{table.name}.parquet"
            counts[table.name] = write_table(connection, table, file)
        points = write_points(connection, folder / "points", progress)
    count, size = _write_blobs(blobs, folder / "blobs", progress)
    manifest = Manifest(
        format=FORMAT,
        treadle=version("treadle"),
        tables=counts,
        points=points,
        blobs=count,
        bytes=size,
        files={str(file.relative_to(folder)): digest_of(file) for file in _columns(folder)},
    )
    (folder / README).write_text(_ABOUT.format(version=manifest.treadle), encoding="utf-8")
    (folder / MANIFEST).write_bytes(to_json(manifest) + b"\n")
    return manifest


def import_archive(
    folder: Path, database: Database, blobs: Blobs, progress: Progress = lambda *_: None
) -> Manifest:
    """Import an archive into a home without history: all of it, or nothing.

    An import that was stopped may be repeated.

    Args:
        folder: The archive.
        database: The home's records.
        blobs: The home's stored contents.
        progress: Called with what is read, how many are done and how many there are.

    Returns:
        What was imported.

    Raises:
        NotFound: The folder holds no manifest.
        Invalid: The archive has another format, or tables or columns that are unknown here.
        Conflict: The home has a history already.
        Corrupt: The archive's files do not hold what its manifest says.
    """
    manifest = read_manifest(folder)
    _verify(folder, manifest)
    _read_blobs(folder / "blobs", blobs, manifest, progress)
    with database.write() as transaction:
        tables = _tables()
        refuse_history(transaction, tables)
        for done, table in enumerate(tables):
            progress(table.name, done, len(tables))
            file = folder / "tables" / f"{table.name}.parquet"
            count = read_table(transaction, table, file) if file.exists() else 0
            expected = manifest.tables.get(table.name, 0)
            if count != expected:
                raise Corrupt(f"'{file}' has {count:,} rows, and its manifest says {expected:,}.")
        points = read_points(transaction, folder / "points", manifest.points, progress)
        if points != manifest.points:
            raise Corrupt(
                f"'{folder / 'points'}' has {points:,} points, "
                f"and its manifest says {manifest.points:,}."
            )
        count_on(transaction, tables)
        set_head(transaction)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read an archive's manifest, and check that this version of Treadle reads the archive.

    Args:
        folder: The archive.

    Raises:
        NotFound: The folder holds no manifest.
        Invalid: The archive has another format, or a table that is unknown here.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise NotFound(
            f"There is no '{file}': '{folder}' is no archive, or its export was stopped."
        )
    manifest = from_json(file.read_bytes(), Manifest)
    if manifest.format != FORMAT:
        raise Invalid(
            f"'{folder}' was written by Treadle {manifest.treadle} in format {manifest.format}; "
            f"this one reads {FORMAT}."
        )
    unknown = set(manifest.tables) - {table.name for table in _tables()}
    if unknown:
        raise Invalid(
            f"'{folder}' holds a table '{min(unknown)}' that this Treadle does not know. "
            "Upgrade it first."
        )
    return manifest


def damage_in(folder: Path, progress: Progress = lambda *_: None) -> Iterator[tuple[Path, str]]:
    """Yield each file of an archive that is not what was written, with what is wrong.

    Args:
        folder: The archive.
        progress: Called with what is checked, how many are done and how many there are.

    Raises:
        NotFound: The folder holds no manifest.
        Invalid: The manifest cannot be read, or is of another format.
    """
    manifest = read_manifest(folder)
    found = {str(file.relative_to(folder)): file for file in _columns(folder)}
    for name in sorted(found.keys() | manifest.files.keys()) if manifest.files else ():
        if name not in found:
            yield folder / name, "It is missing."
        elif name not in manifest.files:
            yield found[name], "The manifest does not name it."
        elif digest_of(found[name]) != manifest.files[name]:
            yield found[name], "Its content has another digest than the manifest says."
    contents = [file for file in sorted((folder / "blobs").glob("*/*")) if file.is_file()]
    size = 0
    for done, file in enumerate(contents, start=1):
        size += file.stat().st_size
        if digest_of(file) != file.name:
            yield file, "Its content has another digest than its name."
        progress("contents", done, len(contents))
    if (len(contents), size) != (manifest.blobs, manifest.bytes):
        wrong = (
            f"It has {len(contents):,} contents of {size:,} bytes, and its manifest says "
            f"{manifest.blobs:,} of {manifest.bytes:,}."
        )
        yield folder / "blobs", wrong


def _verify(folder: Path, manifest: Manifest) -> None:
    """Raise Corrupt where the files of tables and points are not those that were written."""
    if not manifest.files:
        return
    found = {str(file.relative_to(folder)): file for file in _columns(folder)}
    if found.keys() != manifest.files.keys():
        different = min(found.keys() ^ manifest.files.keys())
        raise Corrupt(f"'{folder / different}' is in the archive or in its manifest, not in both.")
    for name, digest in sorted(manifest.files.items()):
        if digest_of(found[name]) != digest:
            raise Corrupt(
                f"'{found[name]}' is damaged: its content has another digest than its manifest "
                "says. Export it again."
            )


def _columns(folder: Path) -> list[Path]:
    """The files of tables and points."""
    return sorted(file for part in ("tables", "points") for file in (folder / part).glob("*"))


def _tables() -> list[Table]:
    return [table for name, table in sorted(metadata.tables.items()) if name not in LEFT_OUT]


def _write_blobs(blobs: Blobs, folder: Path, progress: Progress) -> tuple[int, int]:
    """Write every stored content. Returns how many there are and their size in bytes."""
    digests = sorted(blobs.digests())
    size = 0
    for done, digest in enumerate(digests, start=1):
        file = folder / digest[:2] / digest
        blobs.fetch(digest, file)
        size += file.stat().st_size
        progress("contents", done, len(digests))
    return len(digests), size


def _read_blobs(folder: Path, blobs: Blobs, manifest: Manifest, progress: Progress) -> None:
    files = [file for file in sorted(folder.glob("*/*")) if file.is_file()]
    if len(files) != manifest.blobs:
        raise Corrupt(
            f"'{folder}' has {len(files):,} contents, and its manifest says {manifest.blobs:,}."
        )
    for done, file in enumerate(files, start=1):
        if not blobs.has(file.name):
            if digest_of(file) != file.name:
                raise Corrupt(f"'{file}' is damaged: its content has another digest than its name.")
            blobs.put(file)
        progress("contents", done, len(files))
