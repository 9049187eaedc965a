"""Implements the database port with SQLite in WAL mode.

Readers never wait, writers take turns, and every commit is synced to disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url

from treadle.backends.database.engine import SQLDatabase
from treadle.kernel.errors import Invalid

BUSY_TIMEOUT_SECONDS = 30
MOST_FAULTS = 20


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


def _prepare(connection: Any, _: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "cache_size = -64000",
        "case_sensitive_like = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
