"""The inference logs of all endpoints, read by period; days that are over as Parquet, which anybody can read."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain, quoted
from treadle.kernel.clock import from_micros, to_micros
from treadle.ports.runtime import Field, Layout
from treadle.serving.inference_log import SUFFIX, LogBatch, LogRow, LogTail, days, files, records
from treadle.serving.rows import Rows

DAY_SUFFIX = ".parquet"
ROWS_AT_ONCE = 100_000
INPUT = "input_"  # before the name of each input's column
_ABOUT = ("request", "asked_at", "version", "role", "generation", "micros", "error")
_COLUMNS = "request VARCHAR, asked_at TIMESTAMP, version VARCHAR, role VARCHAR, generation BIGINT, micros BIGINT, error VARCHAR"


class HourlyLoad(NamedTuple):
    """Requests in hand, and requests a second, in an hour's busier minutes: 57 of 60 had fewer."""

    hour: datetime
    concurrency: float
    per_second: float


class InferenceLogs:
    """The inference logs of all endpoints, under ``ROOT/ENDPOINT/log``: a folder of records for a day, later one Parquet file.

    ``restore`` is asked to bring the files of days (first, last) back that are kept elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.restore: Callable[[str, date, date], None] = lambda *_: None

    def folder(self, endpoint: str) -> Path:
        return self._root / endpoint / "log"

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogBatch]:
        """All batches with ``since`` ≤ at < ``until``, day by day."""
        first, last = to_micros(since), to_micros(until)
        if first >= last:
            return
        self.restore(endpoint, from_micros(first).date(), from_micros(last - 1).date())
        taken: set[str] = set()
        for day in days(self.folder(endpoint), since, until, DAY_SUFFIX):
            yield from read_day(day, first, last)
            if day.with_suffix(
                ""
            ).is_dir():  # its records are being made into it, or some came late
                taken |= set(sources_of(day))
        for file in files(self.folder(endpoint), since, until):
            if file.name not in taken:
                yield from (
                    batch
                    for batch, _ in records(file.read_bytes())
                    if first <= batch.facts.at < last
                )

    def rotate(self, endpoint: str, before: date) -> Iterator[tuple[str, Path, int]]:
        """Make days before a date into one Parquet file each. Gives each day with its file and rows; then its records go.

        Nobody may write to those days any more, and no tail read them. It may be stopped anywhere, and done again.
        """
        folders = [
            path
            for path in self.folder(endpoint).glob("*")
            if path.is_dir() and path.name < before.isoformat()
        ]
        for day in sorted(folders):
            file = day.with_name(f"{day.name}{DAY_SUFFIX}")
            taken = sources_of(file) if file.exists() else []
            new = [log for log in sorted(day.glob(f"*{SUFFIX}")) if log.name not in taken]
            content = list(read_day(file, 0, 1 << 62)) if taken else []
            content += [batch for log in new for batch, _ in records(log.read_bytes())]
            rows = write_day(content, [*taken, *(log.name for log in new)], file)
            yield day.name, file, rows
            shutil.rmtree(day, ignore_errors=True)

    def read(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogRow]:
        """All rows with ``since`` ≤ at < ``until``, file by file."""
        for batch in self.batches(endpoint, since, until):
            yield from batch.rows()

    def load(self, endpoint: str, since: datetime, until: datetime) -> list["HourlyLoad"]:
        """The load of the hours with any requests."""
        spent: dict[int, tuple[float, int]] = {}  # minute → request-seconds, requests

        def add(minute: int, seconds: float, requests: int) -> None:
            before = spent.get(minute, (0.0, 0))
            spent[minute] = before[0] + seconds, before[1] + requests

        first, last = to_micros(since), to_micros(until)
        rotated = {day.stem for day in days(self.folder(endpoint), since, until, DAY_SUFFIX)}
        for file in [self.folder(endpoint) / f"{day}{DAY_SUFFIX}" for day in sorted(rotated)]:
            with duckdb.connect() as connection:
                wanted = (
                    "SELECT epoch_us(asked_at) // 60_000_000 AS minute, sum(micros) / 1e6, count(*) FROM read_parquet(?) WHERE role != 'shadow' "
                    "AND request NOT LIKE '%#%' AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? GROUP BY minute"
                )
                for found in connection.execute(wanted, [str(file), first, last]).fetchall():
                    add(*found)
        for log in files(self.folder(endpoint), since, until):
            if log.parent.name in rotated:
                continue
            for batch, _ in records(log.read_bytes()):
                if first <= batch.facts.at < last and batch.facts.role != "shadow":
                    add(
                        batch.facts.at // 60_000_000,
                        sum(batch.facts.micros) / 1e6,
                        len(batch.facts.ids),
                    )
        hours: dict[int, list[tuple[float, int]]] = {}
        for minute, found in spent.items():
            hours.setdefault(minute // 60, []).append(found)

        def busier(values: list[float]) -> float:
            return float(np.quantile([*values, *[0.0] * (60 - len(values))], 0.95)) / 60

        return [
            HourlyLoad(
                from_micros(hour * 3_600_000_000),
                busier([s for s, _ in minutes]),
                busier([n for _, n in minutes]),
            )
            for hour, minutes in sorted(hours.items())
        ]

    def tail(self, endpoint: str, since: datetime) -> LogTail:
        return LogTail(self._root / endpoint / "log", since)


def write_day(batches: list[LogBatch], sources: list[str], file: Path) -> int:
    """Write a day's batches as one file, whole or not at all. Returns how many rows it has.

    The file names its ``sources``, so that none of them is ever taken in twice.

    Columns are the request's id (with ``#1``, ``#2`` … for further rows), the moment in UTC, who answered in which role and generation,
    the time it took in microseconds, ``prediction`` (or ``prediction_0`` and so on), the ``error`` if it failed, and ``input_NAME``.
    """
    ordered = sorted(
        batches,
        key=lambda batch: (
            batch.facts.version,
            batch.facts.role,
            batch.facts.generation,
            batch.facts.at,
        ),
    )
    numbers = {name for batch in ordered for name in batch.facts.columns[0]}
    texts = {name for batch in ordered for name in batch.facts.columns[1]} - numbers
    width = max((batch.facts.width for batch in ordered), default=0)
    predictions = [f"prediction_{place}" for place in range(width)] if width else ["prediction"]
    kinds = [f"{quoted(name)} DOUBLE" for name in predictions]
    kinds += [f"{quoted(INPUT + name)} DOUBLE" for name in sorted(numbers)]
    kinds += [f"{quoted(INPUT + name)} VARCHAR" for name in sorted(texts)]
    rows = 0
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        connection.execute(f"CREATE TABLE day ({', '.join([_COLUMNS, *kinds])})")
        for group in _groups(ordered):
            columns = _table(group, sorted(numbers), sorted(texts), predictions)
            rows += len(columns["request"])
            named = ", ".join(
                f"make_timestamp({quoted(name)}) AS asked_at"
                if name == "asked_at"
                else f"nullif({quoted(name)}, '') AS error"
                if name == "error"
                else quoted(name)
                for name in columns
            )
            connection.execute(f"INSERT INTO day BY NAME SELECT {named} FROM columns")
        aside = file.with_suffix(f"{DAY_SUFFIX}.{os.getpid()}.new")
        literal = str(aside).replace("'", "''")
        told = f"KV_METADATA {{sources: '{' '.join(sources)}'}}"
        connection.execute(f"COPY day TO '{literal}' (FORMAT parquet, COMPRESSION zstd, {told})")
    aside.replace(file)
    return rows


def sources_of(file: Path) -> list[str]:
    """The names of the records' files that went into a day's file."""
    with duckdb.connect() as connection:
        wanted = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'sources'"
        (found,) = connection.execute(wanted, [str(file)]).fetchone() or ("",)
    return str(found).split()


def read_day(file: Path, first: int, last: int) -> Iterator[LogBatch]:
    """A file's rows with ``first`` ≤ at < ``last`` (microseconds) as batches of one version, role and generation each."""
    with duckdb.connect() as connection:
        source = [str(file)]
        names = [
            name
            for name, *_ in connection.execute(
                "DESCRIBE SELECT * FROM read_parquet(?)", source
            ).fetchall()
        ]
        (rows,) = connection.execute("SELECT count(*) FROM read_parquet(?)", source).fetchone() or (
            0,
        )
        picked = ", ".join(
            "epoch_us(asked_at) AS asked_at" if name == "asked_at" else quoted(name)
            for name in names
        )
        for start in range(0, rows, ROWS_AT_ONCE):
            found: dict[str, Any] = connection.execute(
                f"SELECT {picked} FROM read_parquet(?, file_row_number = true) WHERE file_row_number >= ? AND "
                "file_row_number < ? AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? ORDER BY file_row_number",
                [*source, start, start + ROWS_AT_ONCE, first, last],
            ).fetchnumpy()
            yield from _batches(found)


def _groups(batches: list[LogBatch]) -> Iterator[list[LogBatch]]:
    """Batches in portions that fit into memory as columns."""
    group: list[LogBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _table(
    batches: list[LogBatch], numbers: list[str], texts: list[str], predictions: list[str]
) -> dict[str, Any]:
    def repeated(values: list[Any], kind: Any) -> NDArray[Any]:
        return np.repeat(np.array(values, dtype=kind), [len(batch) for batch in batches])

    table: dict[str, Any] = {
        "request": np.array([id for batch in batches for id in batch.row_ids], dtype=object),
        "asked_at": np.concatenate([batch.row_moments for batch in batches]),
        "version": repeated([batch.facts.version for batch in batches], object),
        "role": repeated([batch.facts.role for batch in batches], object),
        "generation": repeated([batch.facts.generation for batch in batches], np.int64),
        "micros": np.array(
            [took for batch in batches for took in batch.row_micros], dtype=np.int64
        ),
        "error": np.array(
            [b.facts.errors.get(row, "") for b in batches for row in range(len(b))], dtype=object
        ),
    }
    for place, name in enumerate(predictions):
        table[name] = np.concatenate([_prediction(batch, place) for batch in batches])
    for name in numbers:
        table[INPUT + name] = np.concatenate(
            [_input(batch, name, numeric=True) for batch in batches]
        )
    for name in texts:
        table[INPUT + name] = np.concatenate(
            [_input(batch, name, numeric=False) for batch in batches]
        )
    return table


def _prediction(batch: LogBatch, place: int) -> NDArray[np.float64]:
    """One output of each row; NaN where the row failed, or the model has fewer."""
    wide = batch.outputs.reshape(len(batch), -1)
    values = (
        wide[:, place].astype(np.float64) if place < wide.shape[1] else np.full(len(batch), np.nan)
    )
    values[list(batch.facts.errors)] = np.nan
    return values


def _input(batch: LogBatch, name: str, *, numeric: bool) -> NDArray[Any]:
    values = batch.column(name)
    if values is not None and (values.dtype != object) is numeric:
        return values.astype(np.float64) if numeric else values
    return np.full(len(batch), np.nan if numeric else None, dtype=np.float64 if numeric else object)


def _batches(found: dict[str, Any]) -> Iterator[LogBatch]:
    about = {name: _filled(found[name]) for name in _ABOUT}
    rows = len(about["request"])
    if not rows:
        return
    keys = [about[name] for name in ("version", "role", "generation")]
    changes = [
        0,
        *(np.flatnonzero(np.any([key[1:] != key[:-1] for key in keys], axis=0)) + 1).tolist(),
        rows,
    ]
    inputs = {
        name.removeprefix(INPUT): plain(values)
        for name, values in found.items()
        if name.startswith(INPUT)
    }
    numbers = [name for name, values in inputs.items() if values.dtype != object]
    texts = [name for name in inputs if name not in numbers]
    layout = Layout(
        [Field(name=name, kind="number") for name in numbers]
        + [Field(name=name, kind="text") for name in texts]
    )
    predictions = [name for name in found if name == "prediction" or name.startswith("prediction_")]
    outputs = np.column_stack([plain(found[name]) for name in predictions]).astype(np.float32)
    matrix = np.column_stack([inputs[name] for name in numbers]) if numbers else np.empty((rows, 0))
    words = (
        np.column_stack([inputs[name] for name in texts])
        if texts
        else np.empty((rows, 0), dtype=object)
    )
    for start, end in pairwise(changes):
        part = slice(start, end)
        errors = {
            place: text
            for place, text in enumerate(about["error"][part].tolist())
            if text is not None
        }
        batch = LogBatch.of(
            ids=about["request"][part].tolist(),
            counts=[1] * (end - start),
            micros=about["micros"][part].tolist(),
            at=int(about["asked_at"][start]),
            version=about["version"][start],
            role=about["role"][start],
            generation=int(about["generation"][start]),
            layout=layout,
            rows=Rows(matrix[part], words[part]),
            outputs=outputs[part] if predictions != ["prediction"] else outputs[part, 0],
            errors=errors,
        )
        batch.moments = np.asarray(about["asked_at"][part])
        yield batch


def _filled(values: Any) -> NDArray[Any]:
    """A column without a mask; None where text is null."""
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    filled = values.data.astype(object)
    filled[np.ma.getmaskarray(values)] = None
    return np.asarray(filled)
