"""Implements the database port with SQLite in WAL mode.

Readers never wait, writers take turns, and every commit is synced to disk.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import Invalid

BUSY_TIMEOUT_SECONDS = 30
MOST_FAULTS = 20
_STEPS_BETWEEN_LOOKS = 200_000
"""Instructions of SQLite's machine, some milliseconds, after which it looks at the clock."""
_UNTIL = "until"
"""Under this name a connection's info holds when its statement has run too long."""


class SQLite(SQLDatabase):
    """An SQLite database. Writers take turns by `BEGIN IMMEDIATE`, so they commit in that order.

    Args:
        url: `sqlite:///PATH`.
    """

    def __init__(self, url: str) -> None:
        path = make_url(url).database
        if not path or path == ":memory:":
            raise Invalid(f"The database URL '{url}' names no file. Write sqlite:///PATH.")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "isolation_level": None}
        )
        event.listen(engine, "connect", _prepare)
        super().__init__(url, engine)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction, once the earlier writers have ended theirs."""
        with self._translated(), self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if _in_transaction(connection):
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a transaction that reads one moment."""
        with self.read() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    def bound(self, seconds: float) -> None:
        """End statements that run longer from now on.

        Args:
            seconds: Longest time that a statement takes, with the reading of its rows.
        """
        self._bound_seconds = seconds
        event.listen(self._engine, "connect", _look_at_the_clock)
        event.listen(self._engine, "before_cursor_execute", self._begin_statement)
        self._engine.dispose()  # the connections that are there look at no clock

    def _begin_statement(self, connection: Connection, *_: Any) -> None:
        connection.info[_UNTIL] = time.monotonic() + self._bound_seconds

    def _is_out_of_time(self, error: OperationalError) -> bool:
        return str(error.orig) == "interrupted"

    def scrub(self) -> None:
        """Empty the write-ahead log, which holds pages as they were before; waits for readers.

        Pages of removed rows are overwritten when they are removed (``secure_delete``).
        """
        with self._translated(), self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def check(self) -> list[str]:
        """Check every page and index, and that indexes and tables hold the same.

        Returns:
            What is wrong, a sentence each.
        """
        with self.read() as connection:
            pages = connection.exec_driver_sql(f"PRAGMA integrity_check({MOST_FAULTS})")
            faults = [str(row[0]) for row in pages if row[0] != "ok"]
            strays = connection.exec_driver_sql("PRAGMA foreign_key_check")
            faults += [
                f"row {row[1]} of table {row[0]} refers to no row of {row[2]}" for row in strays
            ]
        return faults


def _in_transaction(connection: Connection) -> bool:
    """Whether there is anything to roll back: a full disk or an interrupt has done it already."""
    return bool(getattr(connection.connection.driver_connection, "in_transaction", True))


def _look_at_the_clock(connection: Any, record: Any) -> None:
    """Let a new connection end its statement when the statement's time is over."""
    info = record.info
    info[_UNTIL] = float("inf")
    connection.set_progress_handler(lambda: time.monotonic() > info[_UNTIL], _STEPS_BETWEEN_LOOKS)


def _prepare(connection: Any, _: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -64000",
        "case_sensitive_like = ON",
        "secure_delete = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
