"""Opens tables for DuckDB: files of Parquet and CSV, frames, and queries over them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from treadle.data.table_files import files_named, read_csv_sql
from treadle.features.views import FeatureView
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.kernel.escaping import one_file, sql_name, sql_text

ROW = "treadle row"
"""The column with the place of a row in its table."""
ENTITY = "treadle entity"
"""The column with the number of a distinct entity, from 0."""
_PLACE_IN_FILES = "(file_index::BIGINT << 40) | file_row_number"
_NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS")
_MOMENTS = ("TIMESTAMP", "DATE")
_NUMBERS = ("INT", "DOUBLE", "FLOAT", "DECIMAL", "REAL")


class Table(NamedTuple):
    """A table that a connection can read.

    Attributes:
        sql: What follows ``FROM``; its rows have the column ``ROW`` as well.
        kinds: DuckDB's types of the columns, by name, without ``ROW``.
    """

    sql: str
    kinds: dict[str, str]


@contextmanager
def speaking(what: str) -> Iterator[None]:
    """Turn DuckDB's errors within the block into Invalid.

    Args:
        what: What is read, for the message.

    Raises:
        Invalid: DuckDB refuses it.
    """
    try:
        yield
    except duckdb.Error as error:
        raise Invalid(f"{what} cannot be read: {error}") from error


def connection_over(sources: Iterable[Any]) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB of its own that reads the files of some sources and no other file.

    Queries of views come from project files: they are given what they are declared over.

    Args:
        sources: Paths, globs and frames.

    Raises:
        NotFound: There is no such file.
    """
    paths = [path for source in sources if _is_path(source) for path in files_named(source)]
    connection = duckdb.connect()
    connection.execute(f"SET allowed_paths = [{', '.join(map(sql_text, paths))}]")
    connection.execute("SET enable_external_access = false")
    return connection


def open_table(
    connection: duckdb.DuckDBPyConnection, source: Any, name: str, sql: str = ""
) -> Table:
    """Open a source in a connection.

    Args:
        connection: The connection.
        source: Path or glob, frame, or DuckDB relation.
        name: What it is called in the connection, unique there.
        sql: A ``SELECT`` over ``source``; empty for the source itself.

    Raises:
        Invalid: It is neither CSV nor Parquet nor a frame, or the query is refused.
        NotFound: There is no such file.
    """
    base, columns, row = _base(connection, source, name)
    if sql:
        query = (
            f"WITH source AS (SELECT * FROM {base}) SELECT * FROM ({sql.rstrip().rstrip(';')}\n)"
        )
    else:
        query = f"SELECT * FROM {base}"
    if sql or row is None:  # computed once, and its rows have numbers then
        connection.execute(f"CREATE TEMP TABLE {sql_name(name)} AS {query}")
        base, columns, row = sql_name(name), "*", "rowid"
    described = connection.sql(f"SELECT {columns} FROM {base} LIMIT 0")
    kinds = dict(zip(described.columns, map(str, described.types), strict=True))
    return Table(f"(SELECT {columns}, {row} AS {sql_name(ROW)} FROM {base})", kinds)


def open_view(connection: duckdb.DuckDBPyConnection, view: FeatureView, name: str) -> Table:
    """Open a view's facts in a connection.

    Args:
        connection: The connection.
        view: The view.
        name: What it is called in the connection, unique there.

    Raises:
        Invalid: The source cannot be read, or it lacks a column that the view names.
        NotFound: There is no such file.
    """
    with speaking(f"View '{view.name}'"):
        table = open_table(connection, view.source, name, view.sql)
    named = [*view.keys, view.at, *([view.created_at] if view.created_at else []), *view.columns]
    for column in named:
        require(table, column, f"View '{view.name}'")
    return table


def features_of(view: FeatureView, table: Table) -> list[str]:
    """The names of a view's stored features, in order.

    Args:
        view: The view.
        table: Its facts.
    """
    others = (*view.keys, view.at, view.created_at)
    return list(view.columns) or [name for name in table.kinds if name not in others]


def micros_sql(table: Table, column: str, what: str, alias: str = "f") -> str:
    """Write a moment in microseconds since 1970, in SQL.

    Nanoseconds of facts are rounded up, and of the rows that ask (``r``) down, so that nothing is
    known before its time.

    Args:
        table: The table.
        column: Its column with the moment.
        what: Whose table it is, for the message.
        alias: The table's alias.

    Raises:
        Invalid: The column holds no moments.
    """
    kind, name = table.kinds[column], f"{alias}.{sql_name(column)}"
    if kind in _NANOSECONDS:
        nanos = f"(epoch_ns({name}) + {0 if alias == 'r' else 999})"
        return f"(({nanos} - ({nanos} % 1000 + 1000) % 1000) // 1000)"
    if kind.startswith(_MOMENTS):
        return f"epoch_us({name})"
    if kind == "VARCHAR":  # as all columns of an empty CSV file are
        return f"epoch_us({name}::TIMESTAMP)"
    if any(number in kind for number in _NUMBERS) and "[" not in kind:
        return f"({name} * 1000000)::BIGINT"
    raise Invalid(
        f"{what}: column '{column}' holds {kind}, no moments. Give it timestamps, dates or seconds "
        "since 1970."
    )


def require(table: Table, column: str, what: str) -> None:
    """Refuse a table that lacks a column.

    Args:
        table: The table.
        column: The column.
        what: Whose table it is, for the message.

    Raises:
        Invalid: The table lacks the column.
    """
    if column not in table.kinds:
        raise Invalid(
            f"{what} has no column '{column}'. It has: {', '.join(table.kinds)}."
            f"{did_you_mean(column, table.kinds)}"
        )


def _base(
    connection: duckdb.DuckDBPyConnection, source: Any, name: str
) -> tuple[str, str, str | None]:
    """What follows FROM, the columns, and the number of a row; None where it has none yet."""
    if _is_path(source):
        files = files_named(source)
        kinds = {file.suffix.lower() for file in files}
        if kinds <= {".parquet", ".pq"}:
            paths = ", ".join(sql_text(one_file(file)) for file in files)
            return (
                f"read_parquet([{paths}], union_by_name = {str(len(files) > 1).lower()})",
                "*",
                "file_row_number" if len(files) == 1 else _PLACE_IN_FILES,
            )
        if kinds == {".csv"}:
            return read_csv_sql(files), "*", None
        raise Invalid(f"'{source}' is neither CSV nor Parquet.")
    if isinstance(source, duckdb.DuckDBPyRelation):
        source = source.df()
    if hasattr(source, "read_all"):  # Arrow's reader gives its rows once
        source = source.read_all()
    frame = f"{name} frame"
    try:
        connection.register(frame, source)
    except duckdb.Error as error:
        raise Invalid(
            f"A {type(source).__name__} is no table. Give a path, or a frame of pandas, Polars or "
            "Arrow."
        ) from error
    return sql_name(frame), "*", "row_number() OVER ()"


def _is_path(source: Any) -> bool:
    return isinstance(source, str | Path)
