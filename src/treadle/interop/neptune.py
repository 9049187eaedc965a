"""Imports what Neptune's exporter wrote: Parquet files of attributes, and a folder of files.

A run's rows have the columns ``run_id``, ``attribute_path``, ``attribute_type``, ``step`` (which
may have a fraction), ``timestamp``, and one column of values for each type. They are in one file
or several.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from treadle.interop.import_session import ImportSession, run_id
from treadle.interop.report import Imported, Progress
from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import one_file, sql_name
from treadle.ports.blobs import Blobs
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Experiment, PastRun, Status
from treadle.tracking.segments import pack

NEEDED = {"run_id", "attribute_path", "attribute_type"}
TEXTS = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
}
"""Attributes with one value, and the column that holds it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Row(NamedTuple):
    path: str
    kind: str
    step: float
    at: datetime | None
    value: Any


def import_neptune(
    folder: Path,
    tracking: LocalTracking,
    blobs: Blobs,
    progress: Progress = lambda *_: None,
    files: Path | None = None,
) -> Imported:
    """Import an export.

    Args:
        folder: The exported Parquet files; a folder below it is a project.
        tracking: Where experiments and runs go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.
        files: The exported files; `folder` itself where none is named.

    Returns:
        What was imported, and what was left behind.

    Raises:
        Invalid: The folder holds no export.
    """
    parts = sorted(folder.rglob("*.parquet"))
    if not parts:
        raise Invalid(f"'{folder}' holds no Parquet files, so it is no export of Neptune.")
    session = ImportSession(str(folder), tracking, blobs, progress)
    projects: dict[str, dict[str, list[Path]]] = {}
    for part in parts:
        project = part.parent.relative_to(folder).as_posix()
        if project == ".":
            project = folder.name
        for run in _runs_of(part):
            projects.setdefault(project, {}).setdefault(run, []).append(part)
    for project, runs in projects.items():
        experiment = session.experiment(project, tags={"neptune.project": project})
        ids = {run_id(project, run): run for run in runs}
        session.runs(list(ids), partial(_read, session, experiment, runs, ids, files or folder))
    return session.report()


def _runs_of(part: Path) -> list[str]:
    try:
        with duckdb.connect() as connection:
            empty = connection.execute("SELECT * FROM read_parquet(?) LIMIT 0", [one_file(part)])
            missing = NEEDED - {column[0] for column in empty.description or ()}
            if missing:
                raise Invalid(
                    f"'{part}' is no export of Neptune: it has no column '{min(missing)}'."
                )
            rows = connection.execute(
                "SELECT DISTINCT run_id FROM read_parquet(?) ORDER BY 1", [one_file(part)]
            )
            return [str(row[0]) for row in rows.fetchall()]
    except duckdb.Error as error:
        raise Invalid(
            f"'{part}' cannot be read as Parquet: {str(error).splitlines()[0]}"
        ) from error


def _read(
    session: ImportSession,
    experiment: Experiment,
    parts: dict[str, list[Path]],
    ids: dict[str, str],
    files: Path,
    new: list[str],
) -> Iterable[PastRun]:
    for id in new:
        rows = [row for part in parts[ids[id]] for row in _rows(part, ids[id])]
        yield _run(session, experiment, id, ids[id], rows, files)


def _rows(part: Path, run: str) -> list[_Row]:
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        described = connection.execute(
            "DESCRIBE SELECT * FROM read_parquet(?)", [one_file(part)]
        ).fetchall()
        columns = ", ".join(_plain(column, kind) for column, kind, *_ in described)
        of_run = connection.execute(
            f"SELECT {columns} FROM read_parquet(?) WHERE run_id = ?", [one_file(part), run]
        )
        names = [column[0] for column in of_run.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in of_run.fetchall()]
    return [
        _Row(
            path=row["attribute_path"],
            kind=row["attribute_type"],
            step=float(row.get("step") or 0),
            at=row.get("timestamp"),
            value=row,
        )
        for row in rows
    ]


def _plain(column: str, kind: str) -> str:
    """The SQL that reads a column: moments in UTC, without a time zone of their own."""
    name = sql_name(column)
    return f"timezone('UTC', {name}) AS {name}" if kind == "TIMESTAMP WITH TIME ZONE" else name


def _run(
    session: ImportSession,
    experiment: Experiment,
    id: str,
    name: str,
    rows: list[_Row],
    files: Path,
) -> PastRun:
    facts = {row.path: row.value.get(TEXTS[row.kind]) for row in rows if row.kind in TEXTS}
    params = {
        path: _text(value)
        for path, value in facts.items()
        if not path.startswith("sys/") and value is not None
    }
    tags = {
        path: _text(value)
        for path, value in facts.items()
        if path.startswith("sys/") and value is not None
    }
    tags |= {
        row.path: ", ".join(sorted(row.value.get("string_set_value") or ()))
        for row in rows
        if row.kind == "string_set"
    }
    root = f"{experiment.id}/{id}/artifacts"
    lines: dict[str, list[str]] = {}
    for row in rows:
        if row.kind == "string_series":
            lines.setdefault(row.path, []).append(_text(row.value.get("string_value")))
        elif row.kind in ("file", "file_series"):
            _file(session, root, row, files)
        elif row.kind not in ("float_series", "string_set", *TEXTS):
            session.tally.left[f"{row.kind}: not carried"] += 1
    for path, texts in lines.items():
        session.file(root, f"{path}.txt", "\n".join(texts).encode())
    failed = str(facts.get("sys/failed")).lower() == "true"
    active = facts.get("sys/state") == "active"
    status: Status = "failed" if failed else "running" if active else "finished"
    return PastRun(
        id=id,
        experiment=experiment.id,
        name=_text(facts.get("sys/name") or "") or _text(facts.get("sys/id") or "") or name,
        user=_text(facts.get("sys/owner") or ""),
        status=status,
        started_at=_moment(facts.get("sys/creation_time")) or _EPOCH,
        ended_at=None if status == "running" else _moment(facts.get("sys/modification_time")),
        params=session.texts(params),
        tags=session.texts(tags),
        points=_points(session, rows),
    )


def _points(session: ImportSession, rows: list[_Row]) -> dict[str, bytes]:
    """Every point as packed series by key."""
    series: dict[str, list[_Row]] = {}
    for row in rows:
        if row.kind == "float_series" and session.fits(row.path):
            series.setdefault(row.path, []).append(row)
    packed = {}
    for key, points in series.items():
        steps = [int(point.step) if point.step.is_integer() else point.step for point in points]
        times = [to_micros(_moment(point.at) or _EPOCH) for point in points]
        numbers = [point.value.get("float_value") for point in points]
        values = [math.nan if number is None else number for number in numbers]
        packed[key] = pack(steps, times, values)
        session.tally.counts["points"] += len(points)
    return packed


def _file(session: ImportSession, root: str, row: _Row, files: Path) -> None:
    """Import a file, or the files of a folder, that a row names by its path below `files`."""
    named = row.value.get("file_value")
    path = str(named.get("path") or "") if isinstance(named, dict) else ""
    source = (files / path).resolve()
    if not path or not source.is_relative_to(files.resolve()) or not source.exists():
        session.tally.left["files that the export names and does not hold"] += 1
        return
    inside = sorted(file for file in source.rglob("*") if file.is_file())
    for file in inside if source.is_dir() else [source]:
        name = row.path
        if file != source:
            name = f"{name}/{file.relative_to(source).as_posix()}"
        if row.kind == "file_series":
            name = f"{name}/{row.step:g}"
        session.file(root, name, file)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
