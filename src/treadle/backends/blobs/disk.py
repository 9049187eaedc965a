"""Stores blobs as files: written aside, synced, renamed into place, verified when read.

What is added by the thousand, or large, is packed: see ``packs.py``.
"""

import contextlib
import math
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from blake3 import blake3

from treadle.backends.blobs.packing import Adding
from treadle.backends.blobs.packs import Packs
from treadle.kernel.errors import Corrupt, Invalid, NotFound, Unavailable
from treadle.kernel.files import replacing, write_whole
from treadle.ports.blobs import NAMES, digest_of, name_at, place_of

_BLOCK_BYTES = 1 << 20
_MODE = 0o444
"""Stored files are read-only: fetched ones may be links to them."""


class Disk:
    """Blobs as files below a folder, named ``ab/cdef…`` by their digests.

    Args:
        url: `file:///FOLDER`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.netloc or not parts.path:
            raise Invalid(f"The blobs URL '{url}' names no folder. Write file:///FOLDER.")
        self.url = url
        self._root = Path(unquote(parts.path))
        self._packs = Packs(self._root)

    def make_place(self) -> None:
        """Make the folder. Whatever is put makes it too; opening a store makes nothing."""
        self._root.mkdir(parents=True, exist_ok=True)

    def check_place(self) -> None:
        """Check that the folder is there.

        Raises:
            Unavailable: It is not: it was removed, or its disk is not mounted.
        """
        if not self._root.is_dir():
            raise Unavailable(
                f"The folder '{self._root}' of the blob store is not there. Mount its disk, or "
                "bring it back from a backup."
            )

    def put(self, content: bytes | Path) -> str:
        """Store a content, and return its digest.

        Args:
            content: The content, or the file that holds it.
        """
        digest = digest_of(content)
        path = self._path(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content, durable=True, mode=_MODE)
        else:
            with contextlib.suppress(OSError):  # it was added again: see remove_old
                os.utime(path)
        return digest

    @contextmanager
    def adding(self) -> Iterator[Adding]:
        """Open a session that adds contents, which are durable when the block ends.

        Many small contents share a file, and large ones share the pieces that they have in common.
        """
        with self._packs.adding() as adding:
            yield adding

    def get(self, digest: str) -> bytes:
        """Return a blob.

        Args:
            digest: The content's BLAKE3 digest.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content has changed.
        """
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            content = b"".join(self._packed(digest))
        if digest_of(content) != digest:
            raise _damaged(digest)
        return content

    def fetch(self, digest: str, to: Path) -> None:
        """Write a blob to a file, by a hard link where the file system allows it.

        Stored files are read-only, so a link is safe and nothing is copied. What is packed is
        copied.

        Args:
            digest: The blob's digest.
            to: The file to write; folders above it are made.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content is damaged.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        if not self._path(digest).exists():
            with replacing(to) as aside, aside.open("xb") as file:
                file.writelines(self.portions(digest))
                os.fchmod(file.fileno(), _MODE)
            return
        content = self.get(digest)
        try:
            with replacing(to) as aside:
                aside.hardlink_to(self._path(digest))
        except OSError:
            write_whole(to, content, durable=True, mode=_MODE)

    def get_many(self, digests: list[str]) -> dict[str, bytes]:
        """Read many small blobs.

        Args:
            digests: Names of the blobs.

        Returns:
            Their contents by name.

        Raises:
            NotFound: There is no such blob.
            Corrupt: A stored content has changed.
        """
        contents = self._packs.get_many(digests)
        for digest in digests:
            if digest not in contents:
                contents[digest] = self.get(digest)
            elif blake3(contents[digest]).hexdigest() != digest:
                raise _damaged(digest)
        return contents

    def portions(self, digest: str) -> Iterator[bytes]:
        """Read a blob a portion at a time. It is verified when the last one was taken.

        Args:
            digest: The blob's digest.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content is damaged.
        """
        path, hasher = self._path(digest), blake3()
        for portion in _blocks(path) if path.exists() else self._packed(digest):
            hasher.update(portion)
            yield portion
        if hasher.hexdigest() != digest:
            raise _damaged(digest)

    def note_name(self, name: str, digest: str) -> None:
        """Remember that a name stands for a content, besides those that it stood for before.

        Args:
            name: Any text.
            digest: The content's digest.
        """
        self._path(digest)
        file = self._root / place_of(name) / digest
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, b"", durable=True)

    def named(self, name: str) -> list[str]:
        """The digests that a name stands for, the one that was noted last first.

        Args:
            name: Any text.
        """
        files = [file for file in (self._root / place_of(name)).glob("*") if file.name[0] != "."]
        files.sort(key=lambda file: file.stat().st_mtime_ns, reverse=True)
        return [file.name for file in files]

    def names(self) -> Iterator[str]:
        """Return all names that were noted."""
        return (name_at(folder.name) for folder in (self._root / NAMES).glob("n-*"))

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: The content's BLAKE3 digest.
        """
        return self._path(digest).exists() or self._packs.has(digest)

    def delete(self, digest: str) -> None:
        """Delete a blob; may be repeated.

        Args:
            digest: The content's BLAKE3 digest.
        """
        self._path(digest).unlink(missing_ok=True)
        self._packs.delete(digest)

    def age_seconds(self, digest: str) -> float:
        """How long ago a blob was last added.

        Args:
            digest: The blob's digest.

        Returns:
            Seconds; infinity where it is not stored.
        """
        ages = [math.inf if (packed := self._packs.age_seconds(digest)) is None else packed]
        with contextlib.suppress(FileNotFoundError):
            ages.append(time.time() - self._path(digest).stat().st_mtime)
        return min(ages)

    def remove_old(self, digest: str, older_than_seconds: float) -> bool:
        """Delete a blob unless it was added lately, by anybody and up to this very moment.

        Args:
            digest: The blob's digest.
            older_than_seconds: Time since which it must not have been added.

        Returns:
            Whether it was old enough.

        Raises:
            Conflict: Another process adds blobs now.
        """
        with self._packs.alone():
            if self.age_seconds(digest) < older_than_seconds:
                return False
            self._path(digest).unlink(missing_ok=True)
            self._packs.forget(digest)
        return True

    def tidy(self) -> int:
        """Give back the room of packed blobs that were deleted.

        Returns:
            The bytes that were freed.

        Raises:
            Conflict: Another process adds blobs now.
        """
        return self._packs.tidy()

    def move_aside(self, digest: str, to: Path) -> None:
        """Move what is stored under a name to a file, however damaged it is.

        Args:
            digest: The blob's name.
            to: The file.
        """
        path = self._path(digest)
        if path.exists():
            shutil.copyfile(path, to)  # the store may be on another file system
            path.unlink()
        elif self._packs.has(digest):
            with to.open("wb") as file, contextlib.suppress(Corrupt):
                file.writelines(self._packed(digest))
            self._packs.drop_damaged(digest)

    def digests(self) -> Iterator[str]:
        """Return the digests of all blobs."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if not path.name.startswith("."):
                yield path.parent.name + path.name
        for digest in self._packs.digests():
            if not self._path(digest).exists():
                yield digest

    def _packed(self, digest: str) -> Iterator[bytes]:
        """The bytes of a packed blob, not yet verified."""
        portions = self._packs.portions(digest)
        if portions is None:
            raise NotFound(f"There is no blob {digest[:12]} in the store.")
        return portions

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise Invalid(f"'{digest}' is not a blob's name: that is 64 hexadecimal digits.")
        return self._root / digest[:2] / digest[2:]


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _damaged(digest: str) -> Corrupt:
    return Corrupt(
        f"Blob {digest[:12]} is damaged: its content has changed. Restore it from a backup."
    )
