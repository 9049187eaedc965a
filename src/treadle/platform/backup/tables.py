"""The rows of a backup: each table as Parquet, the same from and for every database."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Connection, Table, select, text

from treadle.interop.archive_tables import array_of, kind_of, write_parquet
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.escaping import one_file
from treadle.platform.stages import stages, tables_of
from treadle.ports.database import Instant

SPAN = 20_000
"""Rows of a part; of a table whose rows are numbered, the numbers of a part. What is only appended
to keeps its parts, so that the next backup copies the new ones alone.
"""
LARGEST_PART = 64 << 20
_FETCHED = 1_000


def tables() -> list[Table]:
    """The tables of all stages, by name."""
    return tables_of(stages())


def schema_of(connection: Connection) -> str:
    """The revision of the database's schema.

    Args:
        connection: An open connection.
    """
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def write_parts(connection: Connection, table: Table, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write a table's rows as files, by key.

    Args:
        connection: A snapshot.
        table: The table.
        folder: Where the files are written; each may be removed once it was yielded.

    Yields:
        Each file with the number of its rows.
    """
    columns = _plain_columns(table)
    number = _numbered(table)
    plain = _plain(table, columns)
    keys = [plain.c[column.name] for column in table.primary_key.columns]
    statement = select(plain).order_by(*keys).execution_options(yield_per=_FETCHED)
    part: list[Sequence[Any]] = []
    size, count, span = 0, 0, None
    for row in connection.execute(statement):
        here = None if number is None else row[number] // SPAN
        if part and (here != span or len(part) >= SPAN or size > LARGEST_PART):
            yield _written(part, columns, folder / f"{count}.parquet"), len(part)
            part, size, count = [], 0, count + 1
        part.append(row)
        size += sum(len(value) for value in row if isinstance(value, bytes))
        span = here
    if part:
        yield _written(part, columns, folder / f"{count}.parquet"), len(part)


def read_part(transaction: Connection, table: Table, file: Path) -> int:
    """Read a file of rows into a table.

    Args:
        transaction: A write transaction.
        table: The table.
        file: The file.

    Returns:
        The number of rows.

    Raises:
        Invalid: The file has other columns than the table.
    """
    columns = _plain_columns(table)
    plain = _plain(table, columns)
    count = 0
    with duckdb.connect() as reading:
        content = reading.execute("SELECT * FROM read_parquet(?)", [one_file(file)])
        names = [described[0] for described in content.description or ()]
        if set(names) != {column.name for column in columns}:
            different = ", ".join(sorted(set(names) ^ {column.name for column in columns}))
            raise Invalid(f"Table '{table.name}' of the backup has other columns: {different}.")
        while rows := content.fetchmany(_FETCHED):
            facts = [dict(zip(names, row, strict=True)) for row in rows]
            transaction.execute(sa.insert(plain), facts)
            count += len(rows)
    return count


def refuse_rows(transaction: Connection) -> None:
    """Check that a database holds nothing yet but an empty log's head.

    Args:
        transaction: A write transaction.

    Raises:
        Conflict: A table has rows.
    """
    for table in tables():
        if table.name == "event_heads":
            transaction.execute(table.delete())
        elif transaction.execute(select(table).limit(1)).first() is not None:
            raise Conflict(
                f"The database holds rows already ({table.name}). Restore into a new home, and "
                "an empty database."
            )


def last_number(connection: Connection, table: Table) -> int | None:
    """The number that the database gave last to a row; None where it gives none.

    Args:
        connection: A snapshot.
        table: The table.
    """
    column = table.autoincrement_column
    if column is None:
        return None
    if connection.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"]["autoincrement"]:
            return None
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        given_last: int | None = connection.scalar(given, {"name": table.name})
        return given_last
    counter = _counter(connection, table, column)
    if counter is None:
        return None
    last, called = connection.execute(text(f"SELECT last_value, is_called FROM {counter}")).one()
    return int(last) if called else None


def count_on(transaction: Connection, table: Table, last: int | None) -> None:
    """Let the database give the numbers behind those that it gave last.

    Args:
        transaction: A write transaction.
        table: The table.
        last: What ``last_number`` gave; the largest number in the table where it gave none, as
            SQLite counts where it keeps no count.
    """
    column = table.autoincrement_column
    if column is None:
        return
    if last is None:
        last = transaction.scalar(select(sa.func.max(column)))
    if last is None:
        return
    if transaction.dialect.name == "sqlite":
        if not table.dialect_options["sqlite"]["autoincrement"]:
            return
        there = {"name": table.name, "last": last}
        transaction.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), there)
        transaction.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), there)
        return
    counter = _counter(transaction, table, column)
    if counter:
        transaction.execute(
            text("SELECT setval(:counter, :last)"), {"counter": counter, "last": last}
        )


def _counter(connection: Connection, table: Table, column: Column[Any]) -> str | None:
    found = text("SELECT pg_get_serial_sequence(:table, :column)")
    name: str | None = connection.scalar(found, {"table": table.name, "column": column.name})
    return name


def plain_table(table: Table) -> Any:
    """A table as it is stored: moments are microseconds.

    Args:
        table: The table.
    """
    return _plain(table, _plain_columns(table))


def _plain_columns(table: Table) -> list[Column[Any]]:
    """The columns as they are stored: moments are microseconds."""
    return [
        Column(column.name, BigInteger if isinstance(column.type, Instant) else column.type)
        for column in table.columns
    ]


def _plain(table: Table, columns: list[Column[Any]]) -> Any:
    return sa.table(table.name, *(sa.column(column.name, column.type) for column in columns))


def _numbered(table: Table) -> int | None:
    """The place of the column that numbers the rows; None where none does."""
    keys = list(table.primary_key.columns)
    if len(keys) != 1 or not isinstance(keys[0].type, sa.Integer):
        return None
    return list(table.columns.keys()).index(keys[0].name)


def _written(rows: list[Sequence[Any]], columns: list[Column[Any]], file: Path) -> Path:
    values = list(zip(*rows, strict=True))
    arrays = {
        column.name: array_of(column, column_values)
        for column, column_values in zip(columns, values, strict=True)
    }
    write_parquet(arrays, {column.name: kind_of(column) for column in columns}, file)
    return file
