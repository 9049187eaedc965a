"""PostgreSQL through psycopg 3."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import Unavailable, missing_extra

_QUERY_CANCELED = "57014"  # the state that PostgreSQL ends a statement with whose time is over
_LIMITS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""How long a server may take to accept a connection, and after which silence of its host a
connection counts as lost: seconds, but for the last, in milliseconds. The URL may say otherwise."""
_TURN = 0x7472656164  # "tread": the advisory lock that writers hold in turn
_LEADER = 0x6C656164  # "lead": the advisory lock of the process that leads
_LEADS = text(
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = :leader "
    "AND objsubid = 1 AND pid = :process AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class PostgreSQL(SQLDatabase):
    """A PostgreSQL database, whose writers take turns by an advisory lock.

    Args:
        url: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`.
    """

    def __init__(self, url: str) -> None:
        try:
            asked = make_url(url).set(drivername="postgresql+psycopg")
            limits = {name: value for name, value in _LIMITS.items() if name not in asked.query}
            engine = create_engine(asked, pool_pre_ping=True, connect_args=limits)
        except ModuleNotFoundError as error:
            raise missing_extra("postgres", "A PostgreSQL database") from error
        super().__init__(url, engine)
        self._leader: Connection | None = None
        self._leader_process = 0
        self._turn = threading.local()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction, once the earlier writers have ended theirs."""
        with super().write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
            if getattr(self._turn, "leads", False) and not self._leads(connection):
                raise Unavailable(
                    f"This process led the database {self._name} and has lost its connection; "
                    "another process may lead now. It tries again."
                )
            yield connection

    @contextmanager
    def leading(self) -> Iterator[bool]:
        """Lead for as long as a block lasts, by an advisory lock of a connection of its own."""
        if not self._takes_lead():
            yield False
            return
        self._turn.leads = True
        try:
            yield True
        finally:
            self._turn.leads = False

    def _takes_lead(self) -> bool:
        with self._translated():
            try:
                if self._leader is not None and self._leads(self._leader):
                    return True
                self._resign()  # a connection that has come anew does not hold the lock
                return self._asks_for_lead()
            except (DBAPIError, Unavailable):
                self._resign()
                raise

    def _asks_for_lead(self) -> bool:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._leader = connection  # given up where anything of this fails
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:leader)"), {"leader": _LEADER}):
            self._leader = None
            connection.close()
            return False
        self._leader_process = connection.scalar(text("SELECT pg_backend_pid()")) or 0
        with self.write():  # what the leader before has begun to write is seen from here on
            return True

    def _leads(self, connection: Connection) -> bool:
        mine = {"leader": _LEADER, "process": self._leader_process}
        return connection.scalar(_LEADS, mine) is not None

    def _resign(self) -> None:
        """Give up the connection that leads; the lock goes with it."""
        connection, self._leader = self._leader, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
            with suppress(SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def close(self) -> None:
        """Close all connections."""
        self._resign()
        super().close()

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that reads one moment."""
        with self._translated(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    def bound(self, seconds: float) -> None:
        """End statements that run longer from now on, also while they wait for earlier writers.

        Args:
            seconds: Longest time that a statement takes.
        """
        self._bound_seconds = seconds
        event.listen(self._engine, "connect", self._set_timeout)
        self._engine.dispose()  # the connections that are there have no limit

    def _set_timeout(self, connection: Any, _: Any) -> None:
        connection.execute(f"SET statement_timeout = {int(self._bound_seconds * 1000)}")
        connection.commit()

    def _is_out_of_time(self, error: OperationalError) -> bool:
        return getattr(error.orig, "sqlstate", None) == _QUERY_CANCELED

    def check(self) -> list[str]:
        """Check every index against its table, where the extension ``amcheck`` is installed.

        Returns:
            What is wrong, a sentence each.
        """
        installed = text("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")
        indexes = text(
            "SELECT c.relname, c.oid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE a.amname = 'btree' AND n.nspname = current_schema() AND i.indisvalid"
        )
        faults = []
        with self.read() as connection:
            if connection.scalar(installed) is None:
                return []
            for name, oid in connection.execute(indexes).all():
                with connection.begin_nested() as check:
                    try:
                        connection.execute(text("SELECT bt_index_check(:oid, true)"), {"oid": oid})
                    except DBAPIError as error:
                        check.rollback()
                        faults.append(f"index {name}: {error.orig}")
        return faults
