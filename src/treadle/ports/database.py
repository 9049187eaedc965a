"""Where records, events and the job queue live."""

import importlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import BigInteger, Connection, MetaData, Table
from sqlalchemy.types import TypeDecorator

from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.entity import Entity
from treadle.kernel.stage import Stage

E = TypeVar("E", bound=Entity)

metadata = MetaData()
"""Every stage's tables register here; migrations are checked against it."""


class Instant(TypeDecorator[datetime]):
    """An aware UTC moment stored as microseconds since 1970: exact and the same on every engine."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:  # noqa: ARG002
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else from_micros(value)


class Database(Protocol):
    """Transactions over one SQL database.

    - ``write`` is atomic: all of the block is durable when it ends, or none of it when it raises. Write transactions take
      turns: what one has read still holds when it writes, and what they number has no gaps.
    - ``read`` sees only what was committed, and never waits for a writer.
    - ``snapshot`` is a ``read`` that sees one moment for as long as its block lasts, whatever is written meanwhile.
    - ``migrate`` brings the schema up to date, may repeat, and raises Conflict when the schema is newer than this code.
    """

    url: str

    def write(self) -> AbstractContextManager[Connection]: ...

    def read(self) -> AbstractContextManager[Connection]: ...

    def snapshot(self) -> AbstractContextManager[Connection]: ...

    def migrate(self) -> None: ...

    def close(self) -> None: ...


def loaded_tables(stage: Stage) -> list[Table]:
    """The tables that a stage's module declares."""
    if not stage.tables:
        return []
    module = importlib.import_module(stage.tables)
    return [value for value in vars(module).values() if isinstance(value, Table)]


def create_tables(database: Database, tables: Iterable[Table]) -> None:
    """Create what is not there yet of the tables of stages that Treadle's own migrations do not know."""
    wanted = list(tables)
    if wanted:
        with database.write() as transaction:
            wanted[0].metadata.create_all(transaction, tables=wanted, checkfirst=True)


def load(kind: type[E], row: Mapping[Any, Any], **decoded: object) -> E:
    """Build an entity from a row's columns of the same names; ``decoded`` replaces those stored in another form."""
    return kind(
        **{name: decoded[name] if name in decoded else row[name] for name in kind.__struct_fields__}
    )
