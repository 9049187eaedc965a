"""The tables of an archive: rows of the database as Parquet files, by key."""

from collections.abc import Sequence
from datetime import UTC, datetime
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

from treadle.events.head import head_of_events, write_head
from treadle.events.tables import events
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.escaping import one_file, sql_name
from treadle.ports.database import Instant

ROWS = 50_000
"""Rows that are stored at a time."""


def write_table(connection: Connection, table: Table, file: Path) -> int:
    """Write a table as Parquet. Its rows fit in memory: one per run and key, not per point.

    Args:
        connection: A connection to the home's records.
        table: The table.
        file: The file to write.

    Returns:
        The number of rows.
    """
    columns = list(table.columns)
    plain_columns = [
        as_type(column, BigInteger) if isinstance(column.type, Instant) else column
        for column in columns
    ]
    by_key = select(*plain_columns).order_by(*table.primary_key.columns)
    rows = connection.execute(by_key).all()
    values_by_column = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = {
        column.name: array_of(column, values)
        for column, values in zip(columns, values_by_column, strict=True)
    }
    kinds = {column.name: kind_of(column) for column in columns}
    write_parquet(arrays, kinds, file)
    return len(rows)


def kind_of(column: Column[Any]) -> str:
    """The Parquet type of a column, in DuckDB's words.

    Args:
        column: The column.
    """
    if isinstance(column.type, Instant):
        return "TIMESTAMP"
    kinds = ((Boolean, "BOOLEAN"), (Integer, "BIGINT"), (Float, "DOUBLE"), (LargeBinary, "BLOB"))
    return next((name for kind, name in kinds if isinstance(column.type, kind)), "VARCHAR")


def array_of(column: Column[Any], values: Sequence[Any]) -> Any:
    """A column's values as an array with a mask, or one of objects.

    Args:
        column: The column.
        values: Its values, None for null.
    """
    kind = kind_of(column)
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


def write_parquet(arrays: dict[str, Any], kinds: dict[str, str], file: Path) -> None:
    """Write columns as a Parquet file; the same columns give the same bytes.

    Args:
        arrays: The columns by name.
        kinds: Each column's type in DuckDB's words, by name.
        file: The file to write.
    """
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1; SET preserve_insertion_order = true")
        connection.register("arrays", arrays)
        casts = ", ".join(
            f"CAST({sql_name(name)} AS {kind}) AS {sql_name(name)}" for name, kind in kinds.items()
        )
        connection.sql(f"SELECT {casts} FROM arrays").write_parquet(str(file), compression="zstd")


def refuse_history(transaction: Connection, tables: list[Table]) -> None:
    """Check that a home has no history yet.

    Args:
        transaction: A transaction in the home's records.
        tables: The tables of a history.

    Raises:
        Conflict: One of the tables has a row.
    """
    for table in tables:
        if transaction.execute(select(table).limit(1)).first() is not None:
            raise Conflict(
                f"This home has a history already ({table.name}). Import into a new one: --home NEW"
            )


def read_table(transaction: Connection, table: Table, file: Path) -> int:
    """Read a table's file into the table.

    Args:
        transaction: A transaction in the home's records.
        table: The table, which is empty.
        file: The file.

    Returns:
        The number of rows.

    Raises:
        Invalid: The file has unknown columns, or lacks one that must not be null.
    """
    columns = {column.name: column for column in table.columns}
    moments = {name for name, column in columns.items() if isinstance(column.type, Instant)}
    count = 0
    with duckdb.connect() as reading:
        content = reading.execute("SELECT * FROM read_parquet(?)", [one_file(file)])
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


def count_on(transaction: Connection, tables: list[Table]) -> None:
    """Set PostgreSQL's counters behind the imported numbers; SQLite's follow by themselves.

    Args:
        transaction: A transaction in the home's records.
        tables: The tables that were imported.
    """
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


def set_head(transaction: Connection) -> None:
    """Make the newest imported event the log's head; its home signs it.

    Args:
        transaction: A transaction in the home's records.
    """
    write_head(transaction, head_of_events(transaction))
