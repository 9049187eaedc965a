"""Exports a home's whole history as Parquet and JSON files, and imports such an archive.

``tables/NAME.parquet`` is a table as it is, with its rows sorted by key. ``points/NNNNN.parquet``
holds every point of every metric in the order of arrival. ``blobs/`` holds every artifact, dataset
and model by content. Exports are deterministic: an archive that is imported and exported again is
equal to the byte. Rights are not exported: tokens and webhooks, which hold secrets, are left out.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    func,
    select,
    text,
)
from sqlalchemy import type_coerce as as_type

from treadle.events.tables import events
from treadle.interop.report import Progress
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound
from treadle.ports.blobs import Blobs, digest_of
from treadle.ports.database import Database, Instant, metadata
from treadle.tracking.history import PIECE
from treadle.tracking.segments import Points, compact, joined, unpack
from treadle.tracking.tables import run_segments, runs

FORMAT = 1
LEFT_OUT = ("access_tokens", "webhooks", run_segments.name)
"""Tables that are not written as they are: rights and secrets, and packed points."""
ROWS, POINTS_IN_FILE = 50_000, 2_000_000
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
| `manifest.json` | how many rows, points and contents there are |

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
    """

    format: int
    treadle: str
    tables: dict[str, int]
    points: int
    blobs: int
    bytes: int


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
            counts[table.name] = _write_table(connection, table, file)
        points = _write_points(connection, folder / "points", progress)
    count, size = _write_blobs(blobs, folder / "blobs", progress)
    manifest = Manifest(
        format=FORMAT,
        treadle=version("treadle"),
        tables=counts,
        points=points,
        blobs=count,
        bytes=size,
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
    _read_blobs(folder / "blobs", blobs, manifest, progress)
    with database.write() as transaction:
        tables = _tables()
        _refuse_history(transaction, tables)
        for done, table in enumerate(tables):
            progress(table.name, done, len(tables))
            file = folder / "tables" / f"{table.name}.parquet"
            count = _read_table(transaction, table, file) if file.exists() else 0
            expected = manifest.tables.get(table.name, 0)
            if count != expected:
                raise Corrupt(f"'{file}' has {count:,} rows, and its manifest says {expected:,}.")
        points = _read_points(transaction, folder / "points", manifest.points, progress)
        if points != manifest.points:
            raise Corrupt(
                f"'{folder / 'points'}' has {points:,} points, "
                f"and its manifest says {manifest.points:,}."
            )
        _count_on(transaction, tables)
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


def _tables() -> list[Table]:
    return [table for name, table in sorted(metadata.tables.items()) if name not in LEFT_OUT]


def _write_table(connection: Connection, table: Table, file: Path) -> int:
    """Write a table as Parquet. Its rows fit in memory: one per run and key, not per point."""
    columns = list(table.columns)
    plain_columns = [
        as_type(column, BigInteger) if isinstance(column.type, Instant) else column
        for column in columns
    ]
    by_key = select(*plain_columns).order_by(*table.primary_key.columns)
    rows = connection.execute(by_key).all()
    values_by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = {
        column.name: _array(column, values)
        for column, values in zip(columns, values_by_column, strict=True)
    }
    kinds = {column.name: _kind(column) for column in columns}
    _write_parquet(arrays, kinds, file)
    return len(rows)


def _kind(column: Column[Any]) -> str:
    """The Parquet type of a column, in DuckDB's words."""
    if isinstance(column.type, Instant):
        return "TIMESTAMP"
    kinds = ((Boolean, "BOOLEAN"), (Integer, "BIGINT"), (Float, "DOUBLE"), (LargeBinary, "BLOB"))
    return next((name for kind, name in kinds if isinstance(column.type, kind)), "VARCHAR")


def _array(column: Column[Any], values: Sequence[Any]) -> Any:
    kind = _kind(column)
    if kind in ("VARCHAR", "BLOB"):
        objects = np.empty(len(values), dtype=object)
        objects[:] = values
        return objects
    types: dict[str, Any] = {
        "BIGINT": np.int64,
        "DOUBLE": np.float64,
        "BOOLEAN": bool,
        "TIMESTAMP": np.int64,
    }
    holes = np.fromiter((value is None for value in values), bool, len(values))
    filled = np.array([0 if value is None else value for value in values], types[kind])
    if kind == "TIMESTAMP":
        moments = filled.view("datetime64[us]") if len(filled) else np.empty(0, "datetime64[us]")
        moments[holes] = np.datetime64("NaT")
        return moments
    return np.ma.masked_array(filled, mask=holes)


def _write_parquet(arrays: dict[str, Any], kinds: dict[str, str], file: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1; SET preserve_insertion_order = true")
        connection.register("arrays", arrays)
        casts = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in kinds.items())
        connection.sql(f"SELECT {casts} FROM arrays").write_parquet(str(file), compression="zstd")


def _write_points(connection: Connection, folder: Path, progress: Progress) -> int:
    """Write every series, by run and key. Returns how many points there are."""
    total = 0
    file_number = 0
    waiting: list[tuple[str, str, Points]] = []
    waiting_points = 0
    segments = connection.scalar(select(func.count()).select_from(run_segments)) or 0

    def write() -> None:
        nonlocal file_number, waiting, waiting_points
        _write_parquet(_columns(waiting), _POINT_KINDS, folder / f"{file_number:05}.parquet")
        file_number += 1
        waiting = []
        waiting_points = 0

    for done, (run, key, points) in _series(connection):
        for first in range(0, len(points), POINTS_IN_FILE):
            part = points.at_places(slice(first, first + POINTS_IN_FILE))
            if waiting_points + len(part) > POINTS_IN_FILE:
                write()
            waiting.append((run, key, part))
            waiting_points += len(part)
        total += len(points)
        progress("points", done, segments)
    if waiting:
        write()
    return total


_POINT_KINDS = {
    "run": "VARCHAR",
    "key": "VARCHAR",
    "step": "BIGINT",
    "fraction": "DOUBLE",
    "timestamp": "TIMESTAMP",
    "value": "DOUBLE",
}


def _series(connection: Connection) -> Iterator[tuple[int, tuple[str, str, Points]]]:
    """Each series whole, with the number of packed pieces that were read so far."""
    columns = (runs.c.id, run_segments.c.key, run_segments.c.body)
    in_order = (
        select(*columns)
        .join(runs, runs.c.number == run_segments.c.run)
        .order_by(run_segments.c.run, run_segments.c.key, run_segments.c.number)
    )
    rows = connection.execution_options(yield_per=200).execute(in_order)
    done = 0
    for (run, key), pieces in groupby(rows, lambda row: (row[0], row[1])):
        bodies = [unpack(row[2]) for row in pieces]
        done += len(bodies)
        yield done, (run, key, joined(bodies))


def _columns(series: list[tuple[str, str, Points]]) -> dict[str, Any]:
    """Series as columns, a row a point."""
    sizes = [len(points) for _, _, points in series]
    together = joined([points for _, _, points in series])
    # Adding 0.0 turns -0.0 into 0.0.
    fraction = np.zeros(len(together)) if together.rest is None else together.rest + 0.0
    return {
        "run": np.repeat(np.array([run for run, _, _ in series], object), sizes),
        "key": np.repeat(np.array([key for _, key, _ in series], object), sizes),
        "step": together.whole,
        "fraction": fraction,
        "timestamp": np.ascontiguousarray(together.at).view("datetime64[us]"),
        "value": together.value,
    }


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


def _refuse_history(transaction: Connection, tables: list[Table]) -> None:
    for table in tables:
        if transaction.execute(select(table).limit(1)).first() is not None:
            raise Conflict(
                f"This home has a history already ({table.name}). Import into a new one: --home NEW"
            )


def _read_table(transaction: Connection, table: Table, file: Path) -> int:
    columns = {column.name: column for column in table.columns}
    moments = {name for name, column in columns.items() if isinstance(column.type, Instant)}
    count = 0
    with duckdb.connect() as reading:
        content = reading.execute("SELECT * FROM read_parquet(?)", [str(file)])
        names = [described[0] for described in content.description or ()]
        absent = set(columns) - set(names)
        if set(names) - set(columns) or not all(columns[name].nullable for name in absent):
            different = ", ".join(sorted(set(names) ^ set(columns)))
            raise Invalid(f"'{file}' has other columns than this Treadle: {different}.")
        while rows := content.fetchmany(ROWS):
            facts = [dict(zip(names, row, strict=True)) for row in rows]
            for fact in facts:
                for name in moments - absent:
                    fact[name] = _aware(fact[name])
                if table is events and "project" in absent:
                    fact["project"] = _project_in(fact["body"])
            transaction.execute(table.insert(), facts)
            count += len(rows)
    return count


def _project_in(body: str) -> str | None:
    """The project that an event's body names; archives before schema 0002 hold no other."""
    project = from_json(body, dict[str, Any]).get("project")
    return None if project in (None, "*") else str(project)[:63]


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _read_points(transaction: Connection, folder: Path, total: int, progress: Progress) -> int:
    numbers = dict(transaction.execute(select(runs.c.id, runs.c.number)).all())
    count = 0
    with duckdb.connect() as reading:
        for file in sorted(folder.glob("*.parquet")):
            columns = reading.read_parquet(str(file)).fetchnumpy()
            count += _store_points(transaction, columns, numbers)
            progress("points", count, total)
    return count


def _store_points(transaction: Connection, columns: dict[str, Any], numbers: dict[str, int]) -> int:
    """Store the points of one file as packed pieces. Returns how many points there were."""
    run, key = np.asarray(columns["run"]), np.asarray(columns["key"])
    fraction = np.asarray(columns["fraction"])
    at = np.asarray(columns["timestamp"]).astype("datetime64[us]").view(np.int64)
    value: Any = np.ma.MaskedArray(columns["value"], dtype=np.float64).filled(np.nan)
    step = np.asarray(columns["step"]).astype(np.int64)
    points = Points(step, fraction if fraction.any() else None, at, value)
    series_starts = np.flatnonzero((run[1:] != run[:-1]) | (key[1:] != key[:-1])) + 1
    edges = [0, *series_starts.tolist(), len(run)]
    rows = []
    for start, end in pairwise(edges):
        for first in range(start, end, PIECE):
            part = points.at_places(slice(first, min(first + PIECE, end)))
            if part.rest is not None and not part.rest.any():
                part = Points(part.whole, None, part.at, part.value)
            rows.append(
                {
                    "run": numbers[run[start]],
                    "key": key[start],
                    "fresh": False,
                    "body": compact(part),
                }
            )
    if rows:
        transaction.execute(run_segments.insert(), rows)
    return len(run)


def _count_on(transaction: Connection, tables: list[Table]) -> None:
    """Set PostgreSQL's counters behind the imported numbers; SQLite's follow by themselves."""
    if transaction.dialect.name != "postgresql":
        return
    for table in tables:
        column: Any = table.autoincrement_column
        if column is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            counter = transaction.scalar(select(sequence))
            last = transaction.scalar(select(func.max(column)))
            if counter and last:
                transaction.execute(
                    text("SELECT setval(:counter, :last)"), {"counter": counter, "last": last}
                )
