"""The points of metrics in an archive: packed pieces of series as Parquet files, a row a point."""

from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from sqlalchemy import Connection, func, select

from treadle.interop.archive_tables import write_parquet
from treadle.interop.report import Progress
from treadle.kernel.escaping import one_file
from treadle.tracking.history import PIECE
from treadle.tracking.segments import Points, compact, joined, unpack
from treadle.tracking.tables import run_segments, runs

POINTS_IN_FILE = 2_000_000


def write_points(connection: Connection, folder: Path, progress: Progress) -> int:
    """Write every series, by run and key.

    Args:
        connection: A connection to the home's records.
        folder: Where the files go.
        progress: Called with what is written, how many are done and how many there are.

    Returns:
        The number of points.
    """
    total = 0
    file_number = 0
    waiting: list[tuple[str, str, Points]] = []
    waiting_points = 0
    segments = connection.scalar(select(func.count()).select_from(run_segments)) or 0

    def write() -> None:
        nonlocal file_number, waiting, waiting_points
        write_parquet(_columns(waiting), _POINT_KINDS, folder / f"{file_number:05}.parquet")
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


def read_points(transaction: Connection, folder: Path, total: int, progress: Progress) -> int:
    """Store the points of an archive as packed pieces; their runs are there already.

    Args:
        transaction: A transaction in the home's records.
        folder: The folder with the files.
        total: The number of points that are expected, for the progress.
        progress: Called with what is read, how many are done and how many there are.

    Returns:
        The number of points.
    """
    numbers = dict(transaction.execute(select(runs.c.id, runs.c.number)).all())
    count = 0
    with duckdb.connect() as reading:
        for file in sorted(folder.glob("*.parquet")):
            columns = reading.read_parquet(one_file(file)).fetchnumpy()
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
