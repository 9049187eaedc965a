"""Scores a Parquet or CSV file: streamed, resumable, every row once and in its order."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.data.engine import query_engine
from treadle.data.frames import plain
from treadle.data.table_files import as_written
from treadle.kernel import process
from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.escaping import one_file, sql_name, sql_text
from treadle.ports.runtime import Field
from treadle.serving.batch_log import BatchLog, ScoredRows
from treadle.serving.input_adapter import InputAdapter
from treadle.serving.row_reader import RowReader
from treadle.serving.served import Served

ROWS_AT_ONCE = 65_536
ANSWER, ERROR = "prediction", "prediction_error"
MANIFEST, LOCK = "manifest.json", "lock"
_READ = 10_000  # rows of one call of the model


class Scored(Entity):
    """What scoring a file came to.

    Attributes:
        rows: How many rows the file has.
        failed: On how many rows the model failed.
        resumed: How many rows an earlier run, which was stopped, had scored.
        version: The version that scored them.
        file: The result.
        kept: How many rows were put into the inference log.
    """

    rows: int
    failed: int
    resumed: int
    version: str
    file: str
    kept: int = 0


class Manifest(Entity):
    """What the parts of a result were made of; they are used again only for exactly that.

    Attributes:
        source: The path of the scored file.
        bytes: Its size.
        modified: When it was last changed, in nanoseconds since 1970.
        version: The version that scores it.
        rows_at_once: How many rows a part has.
    """

    source: str
    bytes: int
    modified: int
    version: str
    rows_at_once: int


def score_file(
    served: Served,
    source: Path,
    to: Path,
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    log: BatchLog | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Scored:
    """Write a file's rows with the model's answers to another file; each is Parquet, or CSV.

    The answer is the column `prediction`, or one column for each class. A row on which the model
    fails has nulls there, and the reason in `prediction_error`. Parts are kept beside the result,
    whole or not at all, so that a run which was stopped continues where it was. The result appears
    when it is whole.

    Args:
        served: The model.
        source: The file to score.
        to: The file to write.
        rows_at_once: How many rows a part has.
        log: Keeps the answers in an endpoint's inference log; None keeps them in the result only.
        progress: Called with what is counted, how many are done and how many there are.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is neither Parquet nor CSV, its columns do not fit the model, or it is the
            file to write.
        Conflict: Another process is writing the same result.
    """
    if not source.is_file():
        raise NotFound(f"There is no file '{source}'.")
    if to.exists() and to.samefile(source):
        raise Invalid(f"The result would replace '{source}', which is scored. Name another file.")
    parts = to.with_name(f".{to.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    held = process.hold(parts / LOCK, what=f"The scoring of '{to}'")
    try:
        with query_engine() as connection:
            connection.execute("SET preserve_insertion_order = true")
            columns = _columns(connection, source)
            _check_columns(served, source, columns)
            stat = source.stat()
            manifest = Manifest(
                source=str(source.resolve()),
                bytes=stat.st_size,
                modified=stat.st_mtime_ns,
                version=served.variant.version,
                rows_at_once=rows_at_once,
            )
            _begin(parts, manifest)
            table = source
            if _is_csv(source):
                table = _as_parquet(connection, served, source, columns, parts / "source.parquet")
            if log is not None:
                log.check(connection, as_written(table), columns)
            ((rows,),) = connection.execute(f"SELECT count(*) FROM {as_written(table)}").fetchall()
            failed, resumed = _score_parts(
                connection, served, table, parts, rows, rows_at_once, progress
            )
            files = [_part(parts, number) for number in range(max(1, -(-rows // rows_at_once)))]
            _together(connection, files, to)
            kept = 0
            if log is not None:
                scored = (
                    rows_of_part
                    for part in files
                    for rows_of_part in _scored(connection, served, part, log.id)
                )
                kept = log.keep(served, scored, manifest)
    finally:
        process.release(held)
    shutil.rmtree(parts)
    return Scored(
        rows=rows,
        failed=failed,
        resumed=resumed,
        version=served.variant.version,
        file=str(to),
        kept=kept,
    )


def _part(parts: Path, number: int) -> Path:
    return parts / f"{number:08}.parquet"


def _columns(connection: Any, source: Path) -> list[str]:
    """The names of a file's columns."""
    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {as_written(source)}").fetchall()
    except duckdb.Error as error:
        kind = "CSV" if _is_csv(source) else "Parquet"
        raise Invalid(
            f"'{source}' cannot be read as {kind}: {str(error).splitlines()[0]}"
        ) from error
    return [name for name, *_ in described]


def _is_csv(file: Path) -> bool:
    return file.suffix.lower() == ".csv"


def _as_parquet(
    connection: Any, served: Served, source: Path, columns: list[str], to: Path
) -> Path:
    """A CSV file's rows as Parquet: what the model takes as numbers are numbers, the rest text.

    Parts are read from Parquet by the numbers of their rows; CSV would be read anew for each.
    """
    if to.exists():
        return to
    aside = to.with_suffix(".parquet.new")
    try:
        kinds = _numbers(connection, served, source)
        taken = ", ".join(
            f"CAST({sql_name(name)} AS {kinds[name]}) AS {sql_name(name)}"
            if name in kinds
            else sql_name(name)
            for name in columns
        )
        connection.execute(
            f"COPY (SELECT {taken} FROM {as_written(source)}) "
            f"TO {sql_text(aside)} (FORMAT parquet, COMPRESSION zstd)"
        )
    except duckdb.Error as error:
        raise Invalid(f"'{source}' cannot be read: {str(error).splitlines()[0]}") from error
    aside.replace(to)
    return to


def _numbers(connection: Any, served: Served, source: Path) -> dict[str, str]:
    """The SQL type of each column that the model takes as numbers; whole numbers stay whole."""
    names = [field.name for field in served.signature.inputs if field.kind == "number"]
    looks = [
        look
        for name in map(sql_name, names)
        for look in (
            f"any_value({name}) FILTER (TRY_CAST({name} AS DOUBLE) IS NULL)",
            f"coalesce(bool_and(regexp_full_match({name}, '-?(0|[1-9][0-9]{{0,17}})')), false)",
        )
    ]
    if not looks:
        return {}
    (seen,) = connection.execute(f"SELECT {', '.join(looks)} FROM {as_written(source)}").fetchall()
    kinds = {}
    for name, word, is_whole in zip(names, seen[::2], seen[1::2], strict=True):
        if word is not None:
            raise Invalid(
                f"'{source}': the model takes numbers in column '{name}', and there is text in "
                f"it, such as '{word[:80]}'."
            )
        kinds[name] = "BIGINT" if is_whole else "DOUBLE"
    return kinds


def _check_columns(served: Served, source: Path, columns: list[str]) -> None:
    inputs = [field.name for field in served.signature.inputs]
    absent = [name for name in inputs if name not in columns]
    if absent:
        raise Invalid(
            f"'{source}' has no column '{absent[0]}', which the model takes. "
            f"It has: {', '.join(columns[:20])}."
        )
    twin = next((name for name in (*_names(served), ERROR) if name in columns), None)
    if twin is not None:
        raise Invalid(
            f"'{source}' has a column '{twin}' already, which the result would have too. Rename it."
        )


def _begin(parts: Path, manifest: Manifest) -> None:
    """Keep the parts that are there where they were made of the same; else remove them."""
    file = parts / MANIFEST
    if file.exists() and from_json(file.read_bytes(), Manifest) == manifest:
        return
    for part in parts.glob("*.parquet*"):  # the parts, and the source where that is CSV
        part.unlink()
    file.write_bytes(to_json(manifest))


def _score_parts(
    connection: Any,
    served: Served,
    source: Path,
    parts: Path,
    rows: int,
    rows_at_once: int,
    progress: Callable[[str, int, int], None],
) -> tuple[int, int]:
    """Score what is not scored yet. Returns how many rows failed, and how many were scored."""
    reader = RowReader(served.signature)
    take = InputAdapter(reader, served.signature)
    failed = resumed = 0
    for number, start in enumerate(range(0, max(rows, 1), rows_at_once)):
        part = _part(parts, number)
        end = min(start + rows_at_once, rows)
        if part.exists():
            resumed += end - start
            (failed_in_part,) = connection.execute(
                f"SELECT count({sql_name(ERROR)}) FROM read_parquet(?)", [one_file(part)]
            ).fetchone()
            failed += failed_in_part
        else:
            failed += _score_part(connection, served, reader, take, source, part, start, end)
        progress("rows", end, rows)
    return failed, resumed


def _score_part(
    connection: Any,
    served: Served,
    reader: RowReader,
    take: InputAdapter,
    source: Path,
    part: Path,
    start: int,
    end: int,
) -> int:
    inputs = served.signature.inputs
    names = ", ".join(sql_name(field.name) for field in inputs)
    arrays = connection.execute(
        f"SELECT {names} FROM read_parquet(?, file_row_number = true) "
        "WHERE file_row_number >= ? AND file_row_number < ? ORDER BY file_row_number",
        [one_file(source), start, end],
    ).fetchnumpy()
    columns = {field.name: _column(field, arrays[field.name], source) for field in inputs}
    outputs, errors = _predict(served, reader, take, columns, end - start)
    values: dict[str, Any] = {"treadle_row": np.arange(start, end)}
    matrix = outputs.reshape(end - start, len(_names(served))).astype(np.float64)
    for index, name in enumerate(_names(served)):
        values[name] = matrix[:, index]
    values[ERROR] = np.array([errors.get(row, "") for row in range(end - start)], dtype=object)
    connection.execute("CREATE OR REPLACE TEMP TABLE scored AS SELECT * FROM values")
    answers = ", ".join(
        f"CASE WHEN {sql_name(ERROR)} = '' THEN {sql_name(name)} END AS {sql_name(name)}"
        for name in _names(served)
    )
    aside = part.with_suffix(".parquet.new")
    connection.execute(
        f"COPY (SELECT i.* EXCLUDE (file_row_number), {answers}, "
        f"nullif({sql_name(ERROR)}, '') AS {sql_name(ERROR)} "
        f"FROM read_parquet({sql_text(one_file(source))}, file_row_number = true) i "
        "JOIN scored ON treadle_row = file_row_number "
        f"WHERE file_row_number >= {start} AND file_row_number < {end} "
        "ORDER BY file_row_number) "
        f"TO {sql_text(aside)} (FORMAT parquet, COMPRESSION zstd)"
    )
    aside.replace(part)
    return len(errors)


def _scored(connection: Any, served: Served, part: Path, id: str) -> Iterator[ScoredRows]:
    """The rows of a part with their answers, a record of the log at a time."""
    inputs, names = served.signature.inputs, _names(served)
    taken = [*(field.name for field in inputs), *names, ERROR]
    table = connection.execute(
        f"SELECT {', '.join(map(sql_name, taken))}, CAST({sql_name(id)} AS VARCHAR) AS treadle_id "
        "FROM read_parquet(?)",
        [one_file(part)],
    ).fetchnumpy()
    ids, errors = (plain(table[name]).tolist() for name in ("treadle_id", ERROR))
    columns = {field.name: _column(field, table[field.name], part) for field in inputs}
    answers = [plain(table[name]).astype(np.float32) for name in names]
    outputs = answers[0] if names == [ANSWER] else np.column_stack(answers)
    for start in range(0, len(ids), _READ):
        some = slice(start, start + _READ)
        yield ScoredRows(
            ids=ids[some],
            columns={name: values[some] for name, values in columns.items()},
            outputs=outputs[some],
            errors={row: says for row, says in enumerate(errors[some]) if says},
        )


def _predict(
    served: Served,
    reader: RowReader,
    take: InputAdapter,
    columns: dict[str, NDArray[Any]],
    rows: int,
) -> tuple[NDArray[np.float32], dict[int, str]]:
    outputs: list[NDArray[np.float32]] = []
    errors: dict[int, str] = {}
    for start in range(0, rows, _READ):
        part = {name: values[start : start + _READ] for name, values in columns.items()}
        answers, failed = served.predict(reader.columns(part), take)
        outputs.append(answers)
        errors |= {start + row: reason for row, reason in failed.items()}
    return np.concatenate(outputs) if outputs else served.failed(0, "")[0], errors


def _column(field: Field, values: Any, source: Path) -> NDArray[Any]:
    column = plain(values)
    if (column.dtype != object) is (field.kind == "number"):
        return column
    if field.kind == "text":  # numbers that stand for categories
        texts = [None if value != value else f"{value:g}" for value in column.tolist()]
        return np.array(texts, dtype=object)
    if all(value is None for value in column.tolist()):
        return np.full(len(column), np.nan)
    raise Invalid(
        f"'{source}': the model takes numbers in column '{field.name}', and there is text in it."
    )


def _names(served: Served) -> list[str]:
    """The columns of the result that hold answers."""
    if served.signature.output in ("probabilities", "values"):
        return [f"{ANSWER}_{name}" for name in served.signature.classes]
    return [ANSWER]


def _together(connection: Any, parts: list[Path], to: Path) -> None:
    """Write the parts as one file."""
    files = [sql_text(one_file(part)) for part in parts]
    aside = parts[0].with_name("result.parquet.new")
    written = "FORMAT csv, HEADER" if _is_csv(to) else "FORMAT parquet, COMPRESSION zstd"
    connection.execute(
        f"COPY (SELECT * FROM read_parquet([{', '.join(files)}])) TO {sql_text(aside)} ({written})"
    )
    aside.replace(to)
