"""Adds contents to packs: small ones side by side, large ones cut into pieces."""

import mmap
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from blake3 import blake3

LARGE_BYTES = 1 << 20
"""Contents of this size and more are cut into pieces."""
PIECE_BYTES = 1 << 18
"""Size of a piece on average, above the least of a quarter of it."""
PACK_BYTES = 64 << 20
"""A pack that has grown to this size is synced and followed by another."""
ROWS_AT_ONCE = 20_000
LOOKED_UP_AT_ONCE = 500
_PIECE = """INSERT INTO pieces VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO UPDATE SET
    content = max(content, excluded.content), added = excluded.added"""
_CONTENT = """INSERT INTO contents VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET
    added = excluded.added"""


class Adding:
    """A session that adds contents to packs of its own.

    Args:
        folder: Where the packs are.
        connection: The index.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self._folder, self._connection = folder, connection
        self._writer = _Writer(folder)
        self._rows: dict[bytes, tuple[Any, ...]] = {}
        self._contents: dict[bytes, tuple[Any, ...]] = {}
        self._waiting: dict[bytes, tuple[bytes | memoryview, bool]] = {}
        self._waiting_bytes = 0
        self._now = int(time.time())

    def add(self, content: bytes | Path) -> str:
        """Add a content.

        Args:
            content: The content, or the file that holds it.

        Returns:
            Its digest.

        Raises:
            OSError: It cannot be read, or nothing can be written.
        """
        if isinstance(content, Path):
            descriptor = os.open(content, os.O_RDONLY)
            try:
                size = os.fstat(descriptor).st_size
                if size >= LARGE_BYTES:
                    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
                        return self._add_large(mapped)
                content = _read_all(descriptor, size)
            finally:
                os.close(descriptor)
        if len(content) >= LARGE_BYTES:
            return self._add_large(content)
        hasher = blake3(content)
        self._wait(hasher.digest(), content, is_content=True)
        return hasher.hexdigest()

    def close(self) -> None:
        """Make everything durable that was added."""
        try:
            self._commit()
        finally:
            self._writer.close()

    def _add_large(self, content: Any) -> str:
        whole = blake3(max_threads=blake3.AUTO).update(content).digest()
        known = "SELECT 1 FROM contents WHERE digest = ?"
        if whole in self._contents or self._connection.execute(known, (whole,)).fetchone():
            self._contents.setdefault(whole, (whole, b"", self._now))
            return whole.hex()
        names = []
        with memoryview(content) as view:
            for name, start, size in _cut(view):
                self._wait(name, view[start : start + size], is_content=False)
                names.append(name)
            self._write_waiting()  # views of a file are good for as long as it is open
        self._contents[whole] = (whole, b"".join(names), self._now)
        return whole.hex()

    def _wait(self, name: bytes, content: bytes | memoryview, *, is_content: bool) -> None:
        """Take a piece; many are looked up and written together."""
        held = self._waiting.get(name)
        if held is None:
            self._waiting_bytes += len(content)
        self._waiting[name] = content, is_content or (held is not None and held[1])
        if len(self._waiting) >= LOOKED_UP_AT_ONCE or self._waiting_bytes >= LARGE_BYTES * 8:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Write those of the waiting pieces that are not there."""
        names = [name for name in self._waiting if name not in self._rows]
        marks = ", ".join("?" * len(names))
        wanted = f"SELECT digest, pack, start, bytes FROM pieces WHERE digest IN ({marks})"
        there = {name: place for name, *place in self._connection.execute(wanted, names)}
        for name, (content, is_content) in self._waiting.items():
            held = self._rows.get(name)
            if held is not None:
                place, is_content = held[1:4], is_content or held[5]
            else:
                place = there.get(name) or (*self._writer.write(content), len(content))
            self._rows[name] = (name, *place, self._now, int(is_content))
            if isinstance(content, memoryview):
                content.release()
        self._waiting.clear()
        self._waiting_bytes = 0
        if len(self._rows) >= ROWS_AT_ONCE:
            self._commit()

    def _commit(self) -> None:
        """Make what was written durable, then say where it is."""
        if self._waiting:
            self._write_waiting()
        self._writer.sync()
        with self._connection:
            self._connection.executemany(_PIECE, self._rows.values())
            self._connection.executemany(_CONTENT, self._contents.values())
        self._rows.clear()
        self._contents.clear()


class _Writer:
    """Writes packs one after the other; a thread syncs those that are full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pack, self._size = "", 0
        self._file: IO[bytes] | None = None
        self._full: list[threading.Thread] = []
        self._failures: list[OSError] = []

    def write(self, content: bytes | memoryview) -> tuple[str, int]:
        """Append bytes; gives the pack and the place of the first one."""
        if self._file is None:
            self._pack, self._size = secrets.token_hex(8), 0
            path = self._folder / f"{self._pack}.pack"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "wb", 1 << 20)
        start = self._size
        self._file.write(content)
        self._size += len(content)
        place = self._pack, start
        if self._size >= PACK_BYTES:
            self._hand_over()
        return place

    def sync(self) -> None:
        """Wait until all that was written is on the disk.

        Raises:
            OSError: Something cannot be written.
        """
        if self._file is not None:
            self._hand_over()
        for thread in self._full:
            thread.join()
        self._full.clear()
        if self._failures:
            raise self._failures[0]
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close what is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _hand_over(self) -> None:
        file, self._file = self._file, None
        assert file is not None
        file.flush()
        thread = threading.Thread(target=self._sync, args=(file,))
        thread.start()
        self._full.append(thread)

    def _sync(self, file: IO[bytes]) -> None:
        try:
            with file:
                os.fdatasync(file.fileno())
        except OSError as error:
            self._failures.append(error)


def _read_all(descriptor: int, size: int) -> bytes:
    """The content of an open file, however it is given."""
    content = os.read(descriptor, size + 1)
    while len(content) != size and (more := os.read(descriptor, LARGE_BYTES)):
        content += more
    return content


def _cut(content: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """The pieces of a content: name, first byte and size.

    A thread cuts while this one takes digests.
    """
    from pyfastcdc import FastCDC

    cutter = FastCDC(PIECE_BYTES, min_size=PIECE_BYTES // 4, max_size=PIECE_BYTES * 4)
    cuts: queue.Queue[tuple[int, int] | None] = queue.Queue()

    def cut() -> None:
        try:
            for chunk in cutter.cut_buf(content):
                cuts.put((chunk.offset, chunk.length))
        finally:
            cuts.put(None)

    thread = threading.Thread(target=cut)
    thread.start()
    at = 0
    while (found := cuts.get()) is not None:
        start, size = found
        with content[start : start + size] as piece:
            name = blake3(piece).digest()
        yield name, start, size
        at = start + size
    thread.join()
    if at != len(content):
        raise RuntimeError(f"{len(content) - at} bytes were not cut")
