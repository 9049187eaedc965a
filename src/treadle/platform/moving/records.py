"""Copies the tables of a home to another database, in one transaction, and compares both sides."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa
from blake3 import blake3
from sqlalchemy import Connection, Table, inspect, select

from treadle.events.head import head_of_events
from treadle.kernel.errors import Conflict, Corrupt, Invalid, TreadleError
from treadle.platform.backup.tables import count_on, last_number, plain_table, schema_of, tables
from treadle.platform.stages import BUILT_IN, stages, tables_of
from treadle.platform.verify.findings import Progress
from treadle.ports.database import Database, create_tables

ROWS = 2_000
"""Rows that are read and written at a time."""
_COPIES = sa.Table("treadle_copy", sa.MetaData(), sa.Column("home", sa.String(4096)))
"""Not a stage's table: the home of which a database holds a copy that it does not live in. A move
may write over such a copy; over anything else it may not.
"""


class Counted(NamedTuple):
    """A table's rows.

    Attributes:
        rows: How many there are.
        digest: The sum of their digests, which their order does not change.
    """

    rows: int
    digest: int


def prepare(database: Database, source: Database, home: str) -> None:
    """Make a database ready to take a home's records.

    Args:
        database: The database.
        source: The home's database.
        home: What names the home.

    Raises:
        Conflict: It holds records that are no copy of this home, or newer ones than the home.
    """
    database.migrate()
    create_tables(database, tables_of(stage for stage in stages() if stage not in BUILT_IN))
    with database.write() as transaction:
        if _copy_of(transaction) != home or not _is_older(transaction, source):
            _refuse_records(transaction, database.url)
        note_copy(transaction, home)


def note_copy(transaction: Connection, home: str) -> None:
    """Note that a database holds no more than a copy of a home.

    Args:
        transaction: A write transaction.
        home: What names the home.
    """
    _COPIES.create(transaction, checkfirst=True)
    transaction.execute(_COPIES.delete())
    transaction.execute(_COPIES.insert().values(home=home))


def note_home(database: Database) -> None:
    """Note that a home lives in a database.

    Args:
        database: The database.
    """
    with database.write() as transaction:
        _COPIES.drop(transaction, checkfirst=True)


def copy_tables(source: Connection, target: Database, progress: Progress) -> int:
    """Copy all tables in one transaction, over an earlier copy, and compare both sides.

    Args:
        source: A transaction that nobody writes beside.
        target: A database that was prepared.
        progress: Called with what is copied, how many tables are done and how many there are.

    Returns:
        The number of rows.

    Raises:
        Invalid: The databases have different schemas.
        Corrupt: A table does not hold there what it holds here.
    """
    with target.write() as transaction:
        here, there = schema_of(source), schema_of(transaction)
        if here != there:
            raise Invalid(f"The databases have different schemas, {here} and {there}.")
        known, count = tables(), 0
        for table in known:
            transaction.execute(table.delete())
        for done, table in enumerate(known):
            progress(f"table {table.name}", done, len(known))
            written = _each_portion(source, table, _inserting(transaction, table))
            count_on(transaction, table, last_number(source, table))
            read = _each_portion(transaction, table, lambda _: None)
            if written != read:
                raise Corrupt(
                    f"Table '{table.name}' does not hold in the new database what it holds in the "
                    f"old one ({read.rows:,} and {written.rows:,} rows). The home is as before."
                )
            count += written.rows
    return count


def _inserting(transaction: Connection, table: Table) -> Callable[[list[Any]], None]:
    statement = sa.insert(plain_table(table))
    names = [column.name for column in table.columns]

    def insert(rows: list[Any]) -> None:
        transaction.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])

    return insert


def _each_portion(
    connection: Connection, table: Table, take: Callable[[list[Any]], None]
) -> Counted:
    """Go through a table's rows, and tell how many there are and what they hold."""
    plain = plain_table(table)
    statement = select(plain).execution_options(yield_per=ROWS)
    rows = digest = 0
    for portion in connection.execute(statement).partitions(ROWS):
        take(list(portion))
        rows += len(portion)
        for row in portion:
            digest += int.from_bytes(blake3(repr(tuple(row)).encode()).digest(16))
    return Counted(rows, digest % (1 << 128))


def _copy_of(connection: Connection) -> str:
    """The home of which a database holds no more than a copy; empty for none."""
    if not inspect(connection).has_table(_COPIES.name):
        return ""
    return str(connection.scalar(select(_COPIES.c.home)) or "")


def _is_older(copy: Connection, source: Database) -> bool:
    """Whether the newest event of a copy is one of the home's."""
    newest = head_of_events(copy)
    hash_of = sa.text("SELECT hash FROM events WHERE number = :number")
    with source.read() as connection:
        return not newest.number or newest.hash == connection.scalar(
            hash_of, {"number": newest.number}
        )


def _refuse_records(transaction: Connection, url: str) -> None:
    for table in tables():
        if table.name == "event_heads":  # an empty log has one, too
            continue
        if transaction.execute(select(table).limit(1)).first() is not None:
            raise Conflict(
                f"The database {url} holds records already ({table.name}). Name an empty one."
            )


def closed(database: Database) -> None:
    """Close a database, whatever its driver says.

    Args:
        database: The database.
    """
    with suppress(TreadleError, OSError):
        database.close()
