"""PostgreSQL through psycopg 3."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import missing_extra

_TURN = 0x7472656164  # "tread": the advisory lock that writers hold in turn


class PostgreSQL(SQLDatabase):
    """A PostgreSQL database, whose writers take turns by an advisory lock.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
    """

    def __init__(self, url: str) -> None:
        try:
            engine = create_engine(
                make_url(url).set(drivername="postgresql+psycopg"), pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise missing_extra("postgres", "A PostgreSQL database") from error
        super().__init__(url, engine)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction, once the earlier writers have ended theirs."""
        with super().write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that reads one moment."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")
