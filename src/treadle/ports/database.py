"""The port to the SQL database that holds records, events and the job queue."""

import importlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, Protocol, TypeVar, runtime_checkable

from sqlalchemy import BigInteger, ColumnElement, Connection, MetaData, Table, true
from sqlalchemy.types import TypeDecorator

from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.entity import Entity
from treadle.kernel.sight import visible_projects
from treadle.kernel.stage import Stage

E = TypeVar("E", bound=Entity)

metadata = MetaData()
"""Every stage's tables register here; migrations are checked against it."""


class Instant(TypeDecorator[datetime]):
    """An aware UTC time, stored as microseconds since 1970: exact and the same on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002
        """Convert a time to what is stored.

        Args:
            value: An aware moment, or None.
            dialect: Ignored.

        Returns:
            Microseconds since 1970, or None.
        """
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Convert what is stored to a time.

        Args:
            value: Microseconds since 1970, or None.
            dialect: Ignored.

        Returns:
            A moment in UTC, or None.
        """
        return None if value is None else from_micros(value)


class Database(Protocol):
    """Transactions over one SQL database.

    - ``write`` is atomic: the changes of a block are durable when it ends, and undone when it
      raises. Write transactions take turns: what one has read still holds when it writes, and what
      they number has no gaps.
    - ``read`` sees only what was committed, and never waits for a writer.
    - ``snapshot`` is a ``read`` that sees one moment for as long as its block lasts, whatever is
      written meanwhile.
    - ``migrate`` may repeat.

    Attributes:
        url: Where the database is.
    """

    url: str

    def write(self) -> AbstractContextManager[Connection]:
        """Open a write transaction for the length of a block."""

    def read(self) -> AbstractContextManager[Connection]:
        """Open a read transaction for the length of a block."""

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Open a read transaction that sees one moment throughout its block."""

    def migrate(self) -> None:
        """Bring the schema up to date.

        Raises:
            Conflict: The schema is newer than this code.
        """

    def close(self) -> None:
        """Close all connections."""


@runtime_checkable
class Bounded(Protocol):
    """A database that can end statements that take too long; an optional part of the port."""

    def bound(self, seconds: float) -> None:
        """End statements that run longer from now on: their blocks raise ``Unavailable``.

        A process that answers callers bounds what each may cost; backups and checks do not.

        Args:
            seconds: Longest time that a statement takes, with the reading of its rows.
        """


@runtime_checkable
class Led(Protocol):
    """A database that many servers may share, of which one leads; an optional part of the port."""

    def leading(self) -> AbstractContextManager[bool]:
        """Lead for as long as a block lasts, where nobody else does.

        Whoever leads goes on to between blocks, until its process or its connection ends. What a
        leader writes within the block raises ``Unavailable`` once another may lead, so that two
        never act on the same state.

        Returns:
            Whether this process leads.

        Raises:
            Unavailable: The database does not answer.
        """


def leading(database: Database) -> AbstractContextManager[bool]:
    """Lead as in ``Led``; a database of one machine is led by whoever holds its home.

    Args:
        database: The database.
    """
    return database.leading() if isinstance(database, Led) else nullcontext(True)


class SchemaState(Entity):
    """The schema that a database has, beside the one of this code.

    Attributes:
        stored: Its revision; empty where it has none yet.
        wanted: The revision of this code.
        writer: The version of Treadle that has migrated it last; empty where it has not been.
        known: Whether this code knows the stored revision; a newer version has made it if not.
    """

    stored: str
    wanted: str
    writer: str
    known: bool

    @property
    def current(self) -> bool:
        """Whether the schema is that of this code."""
        return self.stored == self.wanted


@runtime_checkable
class Versioned(Protocol):
    """A database that tells its schema's revision; an optional part of the port."""

    def schema(self) -> SchemaState:
        """The schema that it has, and the one of this code; nothing is changed."""


@runtime_checkable
class Scrubbed(Protocol):
    """A database that keeps copies of removed rows in files of its own; optional in the port."""

    def scrub(self) -> None:
        """Leave no copy of rows that were removed, as far as nobody reads them now."""


def loaded_tables(stage: Stage) -> list[Table]:
    """The tables that a stage's module declares.

    Args:
        stage: The stage; ``tables`` names its module.

    Returns:
        The tables, none where the stage names no module.
    """
    if not stage.tables:
        return []
    module = importlib.import_module(stage.tables)
    return [value for value in vars(module).values() if isinstance(value, Table)]


def create_tables(database: Database, tables: Iterable[Table]) -> None:
    """Create those tables that are not there yet.

    This is for stages that Treadle's own migrations do not know.

    Args:
        database: Where to create them.
        tables: The tables, all of one ``MetaData``.
    """
    wanted = list(tables)
    if wanted:
        with database.write() as transaction:
            wanted[0].metadata.create_all(transaction, tables=wanted, checkfirst=True)


def load(kind: type[E], row: Mapping[Any, Any], **decoded: object) -> E:
    """Build an entity from the columns of a row that are named like its fields.

    Args:
        kind: Class of the entity.
        row: Row of a table, by column name.
        **decoded: Values of fields whose columns are absent or encoded.
    """
    names = kind.__struct_fields__
    return kind(**{name: decoded[name] if name in decoded else row[name] for name in names})


def in_sight(project: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a row is of a project that may be shown now (``kernel/sight.py``).

    Every statement that lists or searches over projects has it.

    Args:
        project: The column with the name of the project.
    """
    visible = visible_projects()
    return true() if visible is None else project.in_(sorted(visible))
