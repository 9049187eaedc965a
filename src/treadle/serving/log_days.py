"""Keeps a past day of an inference log as one Parquet file, a column for each input."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.engine import query_engine
from treadle.data.frames import plain
from treadle.kernel.escaping import one_file, sql_name, sql_text
from treadle.ports.runtime import Field, Layout
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows

DAY_SUFFIX = ".parquet"
ROWS_AT_ONCE = 100_000
INPUT = "input_"  # before the name of each input's column
_ABOUT = ("request", "asked_at", "version", "role", "generation", "micros", "error")
_COLUMNS = (
    "request VARCHAR, asked_at TIMESTAMP, version VARCHAR, role VARCHAR, generation BIGINT, "
    "micros BIGINT, error VARCHAR"
)


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

    Raises:
        OSError: The file cannot be written.
    """

    def order(batch: LogBatch) -> tuple[str, str, int, int]:
        facts = batch.facts
        return facts.version, facts.role, facts.generation, facts.at

    ordered = sorted(batches, key=order)
    numbers = {name for batch in ordered for name in batch.facts.columns[0]}
    texts = {name for batch in ordered for name in batch.facts.columns[1]} - numbers
    width = max((batch.facts.width for batch in ordered), default=0)
    predictions = [f"prediction_{index}" for index in range(width)] if width else ["prediction"]
    kinds = [f"{sql_name(name)} DOUBLE" for name in predictions]
    kinds += [f"{sql_name(INPUT + name)} DOUBLE" for name in sorted(numbers)]
    kinds += [f"{sql_name(INPUT + name)} VARCHAR" for name in sorted(texts)]
    rows = 0
    with query_engine() as connection:
        connection.execute(f"CREATE TEMP TABLE day ({', '.join([_COLUMNS, *kinds])})")
        for group in _groups(ordered):
            columns = _table(group, sorted(numbers), sorted(texts), predictions)
            rows += len(columns["request"])
            named = ", ".join(_READ_AS.get(name, sql_name(name)) for name in columns)
            connection.execute(f"INSERT INTO day BY NAME SELECT {named} FROM columns")
        aside = file.with_suffix(f"{DAY_SUFFIX}.{os.getpid()}.new")
        metadata = f"KV_METADATA {{sources: {sql_text(' '.join(sources))}}}"
        connection.execute(
            f"COPY day TO {sql_text(aside)} (FORMAT parquet, COMPRESSION zstd, {metadata})"
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

    Raises:
        duckdb.Error: The file cannot be read as Parquet.
    """
    query = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'sources'"
    with query_engine() as connection:
        (names,) = connection.execute(query, [one_file(file)]).fetchone() or ("",)
    return str(names).split()


def read_day(file: Path, first: int, last: int) -> Iterator[LogBatch]:
    """Yield a day's rows as batches of one version, role and generation each.

    Args:
        file: The day's file.
        first: The first moment that is read, in microseconds since 1970.
        last: The end of what is read, in microseconds since 1970.

    Raises:
        duckdb.Error: The file cannot be read as Parquet.
    """
    picked = "* EXCLUDE (file_row_number) REPLACE (epoch_us(asked_at) AS asked_at)"
    with query_engine() as connection:
        counted = connection.execute(
            "SELECT num_rows FROM parquet_file_metadata(?)", [one_file(file)]
        ).fetchone()
        (rows,) = counted or (0,)
        for start in range(0, rows, ROWS_AT_ONCE):
            columns: dict[str, Any] = connection.execute(
                f"SELECT {picked} FROM read_parquet(?, file_row_number = true) "
                "WHERE file_row_number >= ? AND file_row_number < ? "
                "AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? ORDER BY file_row_number",
                [one_file(file), start, start + ROWS_AT_ONCE, first, last],
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
