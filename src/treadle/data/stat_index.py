"""Remembers the digests of files by what the file system says of them.

A file whose size, times and inode are as they were has the content that it had, and is not read
again. The index may be deleted: it is made anew by reading. A disk that fails or is full costs
what the index would have spared, and nothing else.
"""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from treadle.data.scan import Item

SETTLED_NS = 50_000_000
"""Age from which a file's time tells it from a later change, on file systems of fine times."""
SETTLED_COARSE_NS = 2_100_000_000
"""The same, on file systems whose times are whole seconds."""
_TABLES = """
CREATE TABLE IF NOT EXISTS roots (id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    root INTEGER, path TEXT, size INTEGER, changed INTEGER, inode INTEGER, digest BLOB,
    PRIMARY KEY (root, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stored (
    root INTEGER, store TEXT, tree TEXT, PRIMARY KEY (root, store)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (
    store TEXT, project TEXT, name TEXT, path TEXT, PRIMARY KEY (store, project, name)
) WITHOUT ROWID;
"""
_ROWS_AT_ONCE = 10_000
Connection = sqlite3.Connection
log = logging.getLogger(__name__)


class StatIndex:
    """What is known of the files below one folder.

    Args:
        connection: The index's database.
        root: The folder, or the one file.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path) -> None:
        self._connection = connection
        path = str(root.absolute())
        _remember(connection, "INSERT OR IGNORE INTO roots (path) VALUES (?)", [(path,)])
        found = _row(connection, "SELECT id FROM roots WHERE path = ?", path)
        self._root: int | None = found[0] if found else None
        self._learnt: list[tuple[object, ...]] = []

    def known(self, items: Iterator[Item]) -> Iterator[tuple[Item, str | None]]:
        """Say of each file which digest it had when it was as it is.

        Args:
            items: Files in the order of their paths.

        Yields:
            Each file, with its digest; None where it is to be read.
        """
        wanted = "SELECT path, size, changed, inode, digest FROM files WHERE root = ? ORDER BY path"
        rows = _rows(self._connection, wanted, self._root)
        row = next(rows, None)
        for item in items:
            while row is not None and row[0] < item.path:
                row = next(rows, None)
            same = row is not None and row[:4] == item[:4]
            yield item, row[4].hex() if row is not None and same else None

    def learn(self, item: Item, digest: str, *, read_at_ns: int | None = None) -> None:
        """Remember a file, unless it could change without a change of what is known of it.

        That is so where it was changed within the same tick of the clock in which it was read.

        Args:
            item: The file as it was before it was read; links and empty folders are passed over.
            digest: Its content's digest.
            read_at_ns: When reading began; None for a file of which nobody else knows yet.
        """
        is_coarse = item.changed_ns % 1_000_000_000 == 0
        settled_ns = SETTLED_COARSE_NS if is_coarse else SETTLED_NS
        is_settled = read_at_ns is None or read_at_ns - item.changed_ns >= settled_ns
        if item.inode and not item.link and is_settled:
            self._learnt.append((self._root, *item[:4], bytes.fromhex(digest)))
        if len(self._learnt) >= _ROWS_AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Write what was learnt."""
        if self._root is not None:
            told = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)"
            _remember(self._connection, told, self._learnt)
        self._learnt.clear()

    def stored(self, store: str) -> str | None:
        """The tree of this folder that a store was given last.

        Args:
            store: Where the store is.
        """
        wanted = "SELECT tree FROM stored WHERE root = ? AND store = ?"
        row = _row(self._connection, wanted, self._root, store)
        return row[0] if row else None

    def note_stored(self, store: str, tree: str) -> None:
        """Remember which tree of this folder a store has.

        Args:
            store: Where the store is.
            tree: The tree's digest.
        """
        if self._root is not None:
            row = (self._root, store, tree)
            _remember(self._connection, "INSERT OR REPLACE INTO stored VALUES (?, ?, ?)", [row])


class Places:
    """Knows which folder a dataset was added from, or checked out to, on this machine.

    Args:
        connection: The index's database.
        store: Where the dataset's home or server is.
    """

    def __init__(self, connection: sqlite3.Connection, store: str) -> None:
        self._connection, self._store = connection, store

    def note(self, project: str, name: str, path: Path) -> None:
        """Remember where a dataset is.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            path: Its folder or file.
        """
        row = self._store, project, name, str(path.absolute())
        _remember(self._connection, "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", [row])

    def of(self, project: str) -> dict[str, Path]:
        """The folders of a project's datasets, by name.

        Args:
            project: Name of the project.
        """
        wanted = "SELECT name, path FROM places WHERE store = ? AND project = ? ORDER BY name"
        rows = _rows(self._connection, wanted, self._store, project)
        return {name: Path(path) for name, path in rows}


def _remember(
    connection: sqlite3.Connection, told: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Write rows, or none of them where the disk does not take them."""
    try:
        with connection:
            connection.executemany(told, rows)
    except sqlite3.OperationalError as error:
        log.warning("the index of files is not written (%s); files will be read again", error)


def _row(connection: sqlite3.Connection, wanted: str, *values: object) -> Any:
    return next(_rows(connection, wanted, *values), None)


def _rows(connection: sqlite3.Connection, wanted: str, *values: object) -> Iterator[Any]:
    """Read rows; no further ones where the disk does not give them."""
    try:
        # ``yield from`` would close the cursor at the end, also that of a closed database.
        for row in connection.execute(wanted, values):  # noqa: UP028
            yield row
    except sqlite3.OperationalError as error:
        log.warning("the index of files is not read (%s); files are read instead", error)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """Open an index, which is made where there is none.

    Args:
        file: The index. Where it cannot be written, one in memory takes its place.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(str(file))
    except (OSError, sqlite3.Error):
        connection = _connect(":memory:")
    try:
        yield connection
    finally:
        connection.close()


def _connect(where: str) -> sqlite3.Connection:
    connection = sqlite3.connect(where, timeout=60)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_TABLES)
    return connection
