"""Keeps many contents in few files: small ones side by side, large ones as pieces they share.

A pack is a file of contents one after the other. ``packs.db`` says where each of them is; a row is
written after the pack's bytes are on the disk, so what it names is there. Large contents are cut
where their bytes say so (FastCDC), so that an insertion changes the pieces around it and no others.
Several processes may add at once, each into packs of its own.
"""

import fcntl
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from blake3 import blake3

from treadle.backends.blobs.packing import Adding
from treadle.kernel.errors import Conflict, Corrupt, Unavailable

NAME_BYTES = 32
MOST_OPEN = 16
PLACE = "SELECT pack, start, bytes FROM pieces WHERE digest = ?"
_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS pieces (
    digest BLOB PRIMARY KEY, pack TEXT NOT NULL, start INTEGER NOT NULL, bytes INTEGER NOT NULL,
    added INTEGER NOT NULL, content INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (
    digest BLOB PRIMARY KEY, pieces BLOB NOT NULL, added INTEGER NOT NULL
) WITHOUT ROWID;
COMMIT;
"""
_OF_PARENTS: list[object] = []
"""What a forked process has inherited and leaves alone."""


class Piece(NamedTuple):
    """Where a piece is.

    Attributes:
        pack: Name of the pack.
        start: Its first byte in the pack.
        bytes: Its size.
    """

    pack: str
    start: int
    bytes: int


class Packs:
    """The packed contents below a folder.

    Args:
        root: The folder of the store; packs are in ``packs/`` below it.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "packs"
        self._index = self._folder / "packs.db"
        self._local = threading.local()

    def has(self, digest: str) -> bool:
        """Whether a content is packed.

        Args:
            digest: The content's digest.
        """
        return self._pieces_of(bytes.fromhex(digest)) is not None

    def portions(self, digest: str) -> Iterator[bytes] | None:
        """The bytes of a content, a piece at a time and not yet verified.

        Args:
            digest: The content's digest.

        Returns:
            None where the content is not packed.
        """
        pieces = self._pieces_of(bytes.fromhex(digest))
        return None if pieces is None else self._read(digest, pieces)

    def get_many(self, digests: list[str]) -> dict[str, bytes]:
        """The bytes of small contents, not yet verified; those that are not packed are left out.

        Args:
            digests: Names of the contents.
        """
        if not self._index.exists():
            return {}
        marks = ", ".join("?" * len(digests))
        wanted = f"SELECT digest, pack, start, bytes FROM pieces WHERE digest IN ({marks})"
        names = [bytes.fromhex(digest) for digest in digests]
        rows = self._rows().execute(wanted, names).fetchall()
        places = sorted((Piece(*place), name.hex()) for name, *place in rows)
        return {name: b"".join(self._read(name, [piece])) for piece, name in places}

    def digests(self) -> Iterator[str]:
        """The names of all packed contents."""
        if self._index.exists():
            with closing(self._connect()) as connection:
                wanted = "SELECT digest FROM pieces WHERE content UNION SELECT digest FROM contents"
                for (digest,) in connection.execute(wanted):
                    yield digest.hex()

    def age_seconds(self, digest: str) -> float | None:
        """How long ago a content was last added.

        Args:
            digest: The content's digest.

        Returns:
            None where the content is not packed.
        """
        if not self._index.exists():
            return None
        name = bytes.fromhex(digest)
        wanted = """SELECT max(added) FROM (SELECT added FROM pieces WHERE digest = ? AND content
            UNION ALL SELECT added FROM contents WHERE digest = ?)"""
        ((added,),) = self._rows().execute(wanted, (name, name))
        return None if added is None else time.time() - added

    def delete(self, digest: str) -> None:
        """Forget a content; ``tidy`` gives its room back.

        Args:
            digest: The content's digest.

        Raises:
            Conflict: Another process adds contents now, which may rely on this one.
        """
        if self.has(digest):
            with self.alone():
                self.forget(digest)

    def forget(self, digest: str) -> None:
        """Forget a content, while nobody adds anything.

        Args:
            digest: The content's digest.
        """
        if self._index.exists():
            with closing(self._connect()) as connection, connection:
                _forget(connection, bytes.fromhex(digest))

    def drop_damaged(self, digest: str) -> None:
        """Forget a content, and those of its pieces that are not what they should be.

        Args:
            digest: The content's digest.

        Raises:
            Conflict: Another process adds contents now.
        """
        if not self._index.exists():
            return
        name = bytes.fromhex(digest)
        with self.alone(), closing(self._connect()) as connection, connection:
            for piece in {name, *_names_of(connection, name)}:
                if not self._is_whole(connection, piece):
                    connection.execute("DELETE FROM pieces WHERE digest = ?", (piece,))
            _forget(connection, name)

    @contextmanager
    def adding(self) -> Iterator["Adding"]:
        """Open a session that adds contents, which are durable when the block ends.

        Where the block raises, what was added so far may be there or not.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_SH), closing(self._connect()) as connection:
            adding = Adding(self._folder, connection)
            try:
                yield adding
            finally:
                adding.close()

    def tidy(self) -> int:
        """Give back the room of what was deleted, and of what a crash has left half added.

        Returns:
            The bytes that were freed.

        Raises:
            Conflict: Another process adds contents now.
        """
        if not self._index.exists():
            return 0
        before = sum(file.stat().st_size for file in self._folder.glob("*.pack"))
        with self.alone(), closing(self._connect()) as connection:
            _forget_unused(connection)
            used = dict(connection.execute("SELECT pack, sum(bytes) FROM pieces GROUP BY pack"))
            for file in sorted(self._folder.glob("*.pack")):
                live = used.get(file.stem, 0)
                if live == 0:
                    file.unlink()
                elif live < file.stat().st_size:
                    self._rewrite(connection, file)
        return before - sum(file.stat().st_size for file in self._folder.glob("*.pack"))

    def _rewrite(self, connection: sqlite3.Connection, file: Path) -> None:
        """Copy what is used of a pack to a new one, and remove it."""
        wanted = "SELECT digest, start, bytes FROM pieces WHERE pack = ? ORDER BY start"
        pack, moved, start = secrets.token_hex(8), [], 0
        with file.open("rb") as source, (self._folder / f"{pack}.pack").open("xb") as target:
            for digest, at, size in connection.execute(wanted, (file.stem,)):
                source.seek(at)
                target.write(source.read(size))
                moved.append((pack, start, digest))
                start += size
            target.flush()
            os.fsync(target.fileno())
        with connection:
            connection.executemany("UPDATE pieces SET pack = ?, start = ? WHERE digest = ?", moved)
        file.unlink()

    def _is_whole(self, connection: sqlite3.Connection, name: bytes) -> bool:
        """Whether a piece is what its name says."""
        row = connection.execute(PLACE, (name,)).fetchone()
        try:
            content = b"".join(self._read(name.hex(), [Piece(*row)])) if row else b""
        except (Corrupt, OSError):
            return False
        return blake3(content).digest() == name

    def _read(self, digest: str, pieces: list[Piece]) -> Iterator[bytes]:
        packs = self._held().packs
        for index in range(len(pieces)):
            try:
                content = packs.read(pieces[index])
            except FileNotFoundError:  # tidied away since, and moved to another pack
                moved = self._pieces_of(bytes.fromhex(digest))
                if moved is None or moved[index] == pieces[index]:
                    raise _damaged(digest, f"pack {pieces[index].pack} is gone") from None
                pieces, content = moved, packs.read(moved[index])
            if len(content) != pieces[index].bytes:
                raise _damaged(digest, f"pack {pieces[index].pack} is shorter than it was")
            yield content

    def _pieces_of(self, name: bytes) -> list[Piece] | None:
        """Where the pieces of a content are; None where it is not packed."""
        if not self._index.exists():
            return None
        rows = self._rows()
        one = rows.execute(PLACE + " AND content", (name,)).fetchone()
        if one is not None:
            return [Piece(*one)]
        names = _names_of(rows, name)
        if not names:
            return None
        pieces = [rows.execute(PLACE, (each,)).fetchone() for each in names]
        if None in pieces:
            raise _damaged(name.hex(), "a piece of it is gone")
        return [Piece(*piece) for piece in pieces]

    def _rows(self) -> sqlite3.Connection:
        """The connection that this thread of this process reads with."""
        return self._held().rows

    def _held(self) -> "_Held":
        """What this thread of this process has open."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.process != os.getpid():
            connection = self._connect()
            if held is not None:  # the parent's: closing it here could end the parent's locks
                _OF_PARENTS.append(held)
            self._local.held = held = _Held(os.getpid(), connection, _OpenPacks(self._folder))
        return held

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._index, timeout=60, check_same_thread=False, factory=_Index
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        wanted = "SELECT 1 FROM sqlite_master WHERE name = 'contents'"
        if connection.execute(wanted).fetchone() is None:  # new, or whoever made it was killed
            connection.executescript(_TABLES)
        return connection

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from adding for as long as the block lasts.

        Raises:
            Conflict: Another process adds contents now.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with (self._folder / "packs.lock").open("ab") as file:
            try:
                fcntl.flock(file, how)
            except BlockingIOError as error:
                raise Conflict(
                    f"Another process adds to '{self._folder}' now. Try again when it has ended."
                ) from error
            yield


class _Index(sqlite3.Connection):
    """A connection to ``packs.db`` whose failures are those of a store that is away."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        with _translated():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        with _translated():
            return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:
        with _translated():
            return super().executescript(*arguments)

    def __exit__(self, *arguments: Any) -> Literal[False]:
        with _translated():
            return super().__exit__(*arguments)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(
            f"The index of packed contents failed: {error}. Has its disk room, and can be written?"
        ) from error


class _OpenPacks:
    """A few packs that are open to be read; one that was tidied away may stay open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}

    def read(self, piece: Piece) -> bytes:
        """Read a piece; what is not there is left out."""
        file = self._files.get(piece.pack)
        if file is None:
            if len(self._files) >= MOST_OPEN:
                self._files.pop(next(iter(self._files)))  # closes when nobody reads it any more
            file = (self._folder / f"{piece.pack}.pack").open("rb", 0)
            self._files[piece.pack] = file
        return os.pread(file.fileno(), piece.bytes, piece.start)


class _Held(NamedTuple):
    process: int
    rows: sqlite3.Connection
    packs: _OpenPacks


def _damaged(digest: str, why: str) -> Corrupt:
    return Corrupt(f"Blob {digest[:12]} is damaged: {why}. Restore it from a backup.")


def _names_of(connection: sqlite3.Connection, name: bytes) -> list[bytes]:
    """The names of a large content's pieces in order; none where it is not there."""
    row = connection.execute("SELECT pieces FROM contents WHERE digest = ?", (name,)).fetchone()
    names = row[0] if row else b""
    return [names[at : at + NAME_BYTES] for at in range(0, len(names), NAME_BYTES)]


def _forget(connection: sqlite3.Connection, name: bytes) -> None:
    connection.execute("UPDATE pieces SET content = 0 WHERE digest = ?", (name,))
    connection.execute("DELETE FROM contents WHERE digest = ?", (name,))


def _forget_unused(connection: sqlite3.Connection) -> None:
    """Remove the rows of pieces that no content needs."""
    with connection:
        connection.execute("CREATE TEMPORARY TABLE used (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        for (pieces,) in connection.execute("SELECT pieces FROM contents").fetchall():
            names = ((pieces[at : at + NAME_BYTES],) for at in range(0, len(pieces), NAME_BYTES))
            connection.executemany("INSERT OR IGNORE INTO used VALUES (?)", names)
        connection.execute(
            "DELETE FROM pieces WHERE NOT content AND digest NOT IN (SELECT digest FROM used)"
        )
        connection.execute("DROP TABLE used")
