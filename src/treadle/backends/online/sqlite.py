"""Implements the online store with SQLite in WAL mode: readers never wait."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from treadle.kernel.entity import to_text
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.online_store import OnlineRow, StoredView, Watermark, watermark_in

BUSY_TIMEOUT_SECONDS = 30
KEYS_AT_ONCE = 500
ROWS_AT_ONCE = 100
_OLDEST = -(1 << 63)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS views (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, newest INTEGER,
    watermark TEXT
);
CREATE TABLE IF NOT EXISTS features (
    view INTEGER NOT NULL, key TEXT NOT NULL, event_time INTEGER NOT NULL,
    arrived INTEGER NOT NULL, packed BLOB NOT NULL, PRIMARY KEY (view, key)
) WITHOUT ROWID;
"""
_KEEP_NEWEST = """
ON CONFLICT (view, key) DO UPDATE
SET event_time = excluded.event_time, arrived = excluded.arrived, packed = excluded.packed
WHERE (excluded.event_time, excluded.arrived) >= (event_time, arrived)
"""
_STORED = """
SELECT name, (SELECT count(*) FROM features WHERE view = id), newest, watermark
FROM views
"""
_PAGE = """
SELECT key, event_time, arrived, packed FROM features
WHERE view = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3
"""
_made = partial(tuple.__new__, OnlineRow)
"""Makes a row of a tuple that has its parts."""


class SQLiteOnlineStore:
    """Features in one SQLite file. All rows of a write, and its watermark, are one transaction.

    Args:
        url: ``sqlite:///PATH``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._file = Path(url.removeprefix("sqlite:///"))
        if not url.startswith("sqlite:///") or not self._file.name:
            raise Invalid(f"The online store's URL '{url}' names no file. Write sqlite:///PATH.")
        self._threads = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._ids: dict[str, int] = {}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._translated():
            self._connection().executescript(_SCHEMA)

    def write(
        self, view: str, rows: Iterable[OnlineRow], watermark: Watermark | None = None
    ) -> None:
        """Store rows, and then how far the view has been materialised.

        Args:
            view: Name of the view.
            rows: The rows, in any order.
            watermark: The new watermark; None leaves the stored one as it is.

        Raises:
            Unavailable: The file cannot be written.
        """
        written = sorted(rows)
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO views (name) VALUES (?)", (view,))
            number = self._id(view)
            for start in range(0, len(written), ROWS_AT_ONCE):
                some = written[start : start + ROWS_AT_ONCE]
                values = [part for row in some for part in (number, *row)]
                connection.execute(_insert(len(some)), values)
            if written:
                connection.execute(
                    "UPDATE views SET newest = max(coalesce(newest, ?1), ?1) WHERE id = ?2",
                    (max(row.event_time for row in written), number),
                )
            if watermark is not None:
                connection.execute(
                    "UPDATE views SET watermark = ? WHERE id = ?", (to_text(watermark), number)
                )

    def read(
        self, view: str, keys: Sequence[str], not_before: int | None = None
    ) -> list[OnlineRow | None]:
        """Read the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; one may come twice.
            not_before: Event time of the oldest row that still counts, in microseconds since 1970;
                None for any.

        Returns:
            One entry for each key, in their order.

        Raises:
            Unavailable: The file cannot be read.
        """
        number = self._ids.get(view) or self._id(view)
        oldest = _OLDEST if not_before is None else not_before
        found: dict[str, OnlineRow] = {}
        with self._translated():
            cursor = self._connection().cursor()
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                rows = cursor.execute(_select(len(some)), (number, oldest, *some))
                found.update({row[0]: row for row in map(_made, rows)})
        return [found.get(key) for key in keys]

    def delete(self, view: str, keys: Sequence[str]) -> int:
        """Erase the rows of some keys.

        Args:
            view: Name of the view.
            keys: The keys; those that are not stored are passed over.

        Returns:
            The number of rows that were erased.

        Raises:
            Unavailable: The file cannot be written.
        """
        number = self._id(view)
        with self._transaction() as connection:
            erased = connection.executemany(
                "DELETE FROM features WHERE view = ? AND key = ?", ((number, key) for key in keys)
            )
            return max(erased.rowcount, 0)

    def rows(self, view: str) -> Iterator[OnlineRow]:
        """Yield all rows of a view.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The file cannot be read.
        """
        number, after = self._id(view), None
        while True:
            with self._translated():
                found = self._connection().execute(_PAGE, (number, after, KEYS_AT_ONCE)).fetchall()
            yield from map(_made, found)
            if len(found) < KEYS_AT_ONCE:
                return
            after = found[-1][0]

    def scrub(self) -> None:
        """Leave no copy of erased rows in the write-ahead log; waits for readers.

        Raises:
            Unavailable: The file cannot be written.
        """
        with self._translated():
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def drop(self, view: str) -> None:
        """Erase a view's rows and its watermark; it may repeat.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The file cannot be written.
        """
        number = self._id(view)
        with self._transaction() as connection:
            connection.execute("DELETE FROM features WHERE view = ?", (number,))
            connection.execute(
                "UPDATE views SET newest = NULL, watermark = NULL WHERE id = ?", (number,)
            )

    def stored(self) -> list[StoredView]:
        """What is stored, by the views' names.

        Raises:
            Unavailable: The file cannot be read.
        """
        with self._translated():
            rows = self._connection().execute(f"{_STORED} ORDER BY name").fetchall()
        found = [_stored(*row) for row in rows]
        return [one for one in found if one.rows or one.watermark]

    def of(self, view: str) -> StoredView:
        """What is stored of one view.

        Args:
            view: Name of the view.

        Raises:
            Unavailable: The file cannot be read.
        """
        with self._translated():
            row = self._connection().execute(f"{_STORED} WHERE name = ?", (view,)).fetchone()
        return _stored(*row) if row else StoredView(view=view, rows=0, newest=None, watermark=None)

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._threads = threading.local()

    def _id(self, view: str) -> int:
        """The number of a view; 0 for one that was never written."""
        if view not in self._ids:
            with self._translated():
                asked = self._connection().execute("SELECT id FROM views WHERE name = ?", (view,))
                row = asked.fetchone()
            if row is None:
                return 0
            if not self._connection().in_transaction:  # one that is rolled back frees its number
                self._ids[view] = row[0]
            return int(row[0])
        return self._ids[view]

    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection."""
        connection: sqlite3.Connection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._file,
                timeout=BUSY_TIMEOUT_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # close() is another thread's
                cached_statements=2 * KEYS_AT_ONCE,
            )
            # What the store holds can be materialised again, so a commit need not be synced.
            for pragma in (
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "cache_size = -65536",
                "secure_delete = ON",
            ):
                connection.execute(f"PRAGMA {pragma}")
            self._threads.connection = connection
            self._opened.append(connection)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(f"The online store '{self._file}' does not work: {error}.") from error


@cache
def _select(keys: int) -> str:
    """The statement that reads so many keys."""
    places = ", ".join("?" * keys)
    return (
        "SELECT key, event_time, arrived, packed FROM features "
        f"WHERE view = ? AND event_time >= ? AND key IN ({places})"
    )


@cache
def _insert(rows: int) -> str:
    """The statement that writes so many rows."""
    places = ", ".join(["(?, ?, ?, ?, ?)"] * rows)
    return (
        f"INSERT INTO features (view, key, event_time, arrived, packed) VALUES {places}"
        f"{_KEEP_NEWEST}"
    )


def _stored(name: str, rows: int, newest: int | None, watermark: str | None) -> StoredView:
    return StoredView(view=name, rows=rows, newest=newest, watermark=watermark_in(watermark))
