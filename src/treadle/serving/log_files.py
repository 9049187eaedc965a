"""Reads the inference logs of all endpoints by period, and keeps past days as Parquet."""

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
_COLUMNS = (
    "request VARCHAR, asked_at TIMESTAMP, version VARCHAR, role VARCHAR, generation BIGINT, "
    "micros BIGINT, error VARCHAR"
)
_LOAD_BY_MINUTE = (
    "SELECT epoch_us(asked_at) // 60_000_000 AS minute, sum(micros) / 1e6, count(*) "
    "FROM read_parquet(?) "
    "WHERE role != 'shadow' AND request NOT LIKE '%#%' "
    "AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? GROUP BY minute"
)


class HourlyLoad(NamedTuple):
    """The load of an hour's busier minutes: its 95th percentile over the minutes.

    Attributes:
        hour: The begin of the hour.
        concurrency: Requests in hand.
        per_second: Requests a second.
    """

    hour: datetime
    concurrency: float
    per_second: float


class InferenceLogs:
    """The inference logs of all endpoints, below `ROOT/ENDPOINT/log`.

    A day is a folder of records, and later one Parquet file.

    Args:
        root: The folder of all endpoints.

    Attributes:
        restore: Called with an endpoint, a first and a last day, to bring back the files of these
            days that are kept elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.restore: Callable[[str, date, date], None] = lambda *_: None

    def folder(self, endpoint: str) -> Path:
        """Return the folder of an endpoint's log.

        Args:
            endpoint: The endpoint's name.
        """
        return self._root / endpoint / "log"

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogBatch]:
        """Yield all batches of a period, day by day.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        first, last = to_micros(since), to_micros(until)
        if first >= last:
            return
        self.restore(endpoint, from_micros(first).date(), from_micros(last - 1).date())
        taken: set[str] = set()
        for day in days(self.folder(endpoint), since, until, DAY_SUFFIX):
            yield from read_day(day, first, last)
            # The day's records are being made into the file, or some came late.
            if day.with_suffix("").is_dir():
                taken |= set(sources_of(day))
        for file in files(self.folder(endpoint), since, until):
            if file.name not in taken:
                yield from (
                    batch
                    for batch, _ in records(file.read_bytes())
                    if first <= batch.facts.at < last
                )

    def rotate(self, endpoint: str, before: date) -> Iterator[tuple[str, Path, int]]:
        """Make days before a date into one Parquet file each; then remove their records.

        Nobody may write to those days any more, and no tail may read them. It may be stopped at
        any time, and repeated.

        Args:
            endpoint: The endpoint's name.
            before: The first day that stays as it is.

        Yields:
            Each day with its file and the number of its rows, before its records are removed.
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
        """Yield all rows of a period, file by file.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        for batch in self.batches(endpoint, since, until):
            yield from batch.rows()

    def load(self, endpoint: str, since: datetime, until: datetime) -> list["HourlyLoad"]:
        """Return the load of a period's hours, without those that had no requests.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        by_minute: dict[int, tuple[float, int]] = {}  # request-seconds and requests

        def add(minute: int, seconds: float, requests: int) -> None:
            before = by_minute.get(minute, (0.0, 0))
            by_minute[minute] = before[0] + seconds, before[1] + requests

        first, last = to_micros(since), to_micros(until)
        rotated = {day.stem for day in days(self.folder(endpoint), since, until, DAY_SUFFIX)}
        for file in [self.folder(endpoint) / f"{day}{DAY_SUFFIX}" for day in sorted(rotated)]:
            with duckdb.connect() as connection:
                loads = connection.execute(_LOAD_BY_MINUTE, [str(file), first, last])
                for load in loads.fetchall():
                    add(*load)
        for log in files(self.folder(endpoint), since, until):
            if log.parent.name in rotated:
                continue
            for batch, _ in records(log.read_bytes()):
                facts = batch.facts
                if first <= facts.at < last and facts.role != "shadow":
                    add(facts.at // 60_000_000, sum(facts.micros) / 1e6, len(facts.ids))
        hours: dict[int, list[tuple[float, int]]] = {}
        for minute, minute_load in by_minute.items():
            hours.setdefault(minute // 60, []).append(minute_load)

        def busier(values: list[float]) -> float:
            return float(np.quantile([*values, *[0.0] * (60 - len(values))], 0.95)) / 60

        return [
            HourlyLoad(
                from_micros(hour * 3_600_000_000),
                busier([seconds for seconds, _ in minutes]),
                busier([requests for _, requests in minutes]),
            )
            for hour, minutes in sorted(hours.items())
        ]

    def tail(self, endpoint: str, since: datetime) -> LogTail:
        """Return a reader of what is appended to an endpoint's log.

        Args:
            endpoint: The endpoint's name.
            since: Batches from before this moment are passed over.
        """
        return LogTail(self._root / endpoint / "log", since)


def write_day(batches: list[LogBatch], sources: list[str], file: Path) -> int:
    """Write a day's batches as one Parquet file, whole or not at all.

    The file names its sources, so that none of them is ever taken in twice. Its columns are
    `request` (the id, with `#1`, `#2` and so on for further rows), `asked_at` (in UTC), `version`,
    `role`, `generation`, `micros` (how long the answer took), `error`, `prediction` (or
    `prediction_0` and so on), and `input_NAME` for each input.

    Args:
        batches: The batches.
        sources: The names of the records' files that the batches are from.
        file: The file to write.

    Returns:
        How many rows the file has.
    """

    def order(batch: LogBatch) -> tuple[str, str, int, int]:
        facts = batch.facts
        return facts.version, facts.role, facts.generation, facts.at

    ordered = sorted(batches, key=order)
    numbers = {name for batch in ordered for name in batch.facts.columns[0]}
    texts = {name for batch in ordered for name in batch.facts.columns[1]} - numbers
    width = max((batch.facts.width for batch in ordered), default=0)
    predictions = [f"prediction_{index}" for index in range(width)] if width else ["prediction"]
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
            named = ", ".join(_READ_AS.get(name, quoted(name)) for name in columns)
            connection.execute(f"INSERT INTO day BY NAME SELECT {named} FROM columns")
        aside = file.with_suffix(f"{DAY_SUFFIX}.{os.getpid()}.new")
        literal = str(aside).replace("'", "''")
        metadata = f"KV_METADATA {{sources: '{' '.join(sources)}'}}"
        connection.execute(
            f"COPY day TO '{literal}' (FORMAT parquet, COMPRESSION zstd, {metadata})"
        )
    aside.replace(file)
    return rows


_READ_AS = {
    "asked_at": 'make_timestamp("asked_at") AS asked_at',
    "error": "nullif(\"error\", '') AS error",
}


def sources_of(file: Path) -> list[str]:
    """Return the names of the records' files that went into a day's file.

    Args:
        file: The day's file.
    """
    query = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'sources'"
    with duckdb.connect() as connection:
        (names,) = connection.execute(query, [str(file)]).fetchone() or ("",)
    return str(names).split()


def read_day(file: Path, first: int, last: int) -> Iterator[LogBatch]:
    """Yield a day's rows as batches of one version, role and generation each.

    Args:
        file: The day's file.
        first: The first moment that is read, in microseconds since 1970.
        last: The end of what is read, in microseconds since 1970.
    """
    source = [str(file)]
    with duckdb.connect() as connection:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", source).fetchall()
        counted = connection.execute("SELECT count(*) FROM read_parquet(?)", source).fetchone()
        (rows,) = counted or (0,)
        picked = ", ".join(
            "epoch_us(asked_at) AS asked_at" if name == "asked_at" else quoted(name)
            for name, *_ in described
        )
        for start in range(0, rows, ROWS_AT_ONCE):
            columns: dict[str, Any] = connection.execute(
                f"SELECT {picked} FROM read_parquet(?, file_row_number = true) "
                "WHERE file_row_number >= ? AND file_row_number < ? "
                "AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? ORDER BY file_row_number",
                [*source, start, start + ROWS_AT_ONCE, first, last],
            ).fetchnumpy()
            yield from _batches(columns)


def _groups(batches: list[LogBatch]) -> Iterator[list[LogBatch]]:
    """The batches in portions that fit into memory as columns."""
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

    errors = [batch.facts.errors.get(row, "") for batch in batches for row in range(len(batch))]
    micros = [took for batch in batches for took in batch.row_micros]
    table: dict[str, Any] = {
        "request": np.array([id for batch in batches for id in batch.row_ids], dtype=object),
        "asked_at": np.concatenate([batch.row_moments for batch in batches]),
        "version": repeated([batch.facts.version for batch in batches], object),
        "role": repeated([batch.facts.role for batch in batches], object),
        "generation": repeated([batch.facts.generation for batch in batches], np.int64),
        "micros": np.array(micros, dtype=np.int64),
        "error": np.array(errors, dtype=object),
    }
    for index, name in enumerate(predictions):
        table[name] = np.concatenate([_prediction(batch, index) for batch in batches])
    for name in numbers:
        values = [_input(batch, name, numeric=True) for batch in batches]
        table[INPUT + name] = np.concatenate(values)
    for name in texts:
        values = [_input(batch, name, numeric=False) for batch in batches]
        table[INPUT + name] = np.concatenate(values)
    return table


def _prediction(batch: LogBatch, index: int) -> NDArray[np.float64]:
    """One output of each row; NaN where the row failed, or where the model has fewer outputs."""
    matrix = batch.outputs.reshape(len(batch), -1)
    if index < matrix.shape[1]:
        values = matrix[:, index].astype(np.float64)
    else:
        values = np.full(len(batch), np.nan)
    values[list(batch.facts.errors)] = np.nan
    return values


def _input(batch: LogBatch, name: str, *, numeric: bool) -> NDArray[Any]:
    values = batch.column(name)
    if values is not None and (values.dtype != object) is numeric:
        return values.astype(np.float64) if numeric else values
    return np.full(len(batch), np.nan if numeric else None, dtype=np.float64 if numeric else object)


def _batches(columns: dict[str, Any]) -> Iterator[LogBatch]:
    """A day's columns as batches of one version, role and generation each."""
    about = {name: _filled(columns[name]) for name in _ABOUT}
    rows = len(about["request"])
    if not rows:
        return
    keys = [about[name] for name in ("version", "role", "generation")]
    differs = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    edges = [0, *(np.flatnonzero(differs) + 1).tolist(), rows]
    inputs = {
        name.removeprefix(INPUT): plain(values)
        for name, values in columns.items()
        if name.startswith(INPUT)
    }
    numbers = [name for name, values in inputs.items() if values.dtype != object]
    texts = [name for name in inputs if name not in numbers]
    layout = Layout(
        [Field(name=name, kind="number") for name in numbers]
        + [Field(name=name, kind="text") for name in texts]
    )
    predictions = [
        name for name in columns if name == "prediction" or name.startswith("prediction_")
    ]
    outputs = np.column_stack([plain(columns[name]) for name in predictions]).astype(np.float32)
    number_matrix, text_matrix = np.empty((rows, 0)), np.empty((rows, 0), dtype=object)
    if numbers:
        number_matrix = np.column_stack([inputs[name] for name in numbers])
    if texts:
        text_matrix = np.column_stack([inputs[name] for name in texts])
    for start, end in pairwise(edges):
        part = slice(start, end)
        errors = {
            row: reason
            for row, reason in enumerate(about["error"][part].tolist())
            if reason is not None
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
            rows=Rows(number_matrix[part], text_matrix[part]),
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
