"""Stores blobs as files: written aside, synced, renamed into place, verified when read."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.kernel.files import replacing, write_whole
from treadle.ports.blobs import digest_of

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
        self._root.mkdir(parents=True, exist_ok=True)

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
        return digest

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
        except FileNotFoundError as error:
            raise NotFound(f"There is no blob {digest[:12]} in the store.") from error
        if digest_of(content) != digest:
            raise Corrupt(
                f"Blob {digest[:12]} is damaged: its content has changed. Restore it from a backup."
            )
        return content

    def fetch(self, digest: str, to: Path) -> None:
        """Write a blob to a file, by a hard link where the file system allows it.

        Stored files are read-only, so a link is safe and nothing is copied.

        Args:
            digest: The blob's digest.
            to: The file to write; folders above it are made.

        Raises:
            NotFound: There is no such blob.
            Corrupt: The stored content is damaged.
        """
        content = self.get(digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            with replacing(to) as aside:
                aside.hardlink_to(self._path(digest))
        except OSError:
            write_whole(to, content, durable=True, mode=_MODE)

    def has(self, digest: str) -> bool:
        """Whether a blob is stored.

        Args:
            digest: The content's BLAKE3 digest.
        """
        return self._path(digest).exists()

    def delete(self, digest: str) -> None:
        """Delete a blob; may be repeated.

        Args:
            digest: The content's BLAKE3 digest.
        """
        self._path(digest).unlink(missing_ok=True)

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

    def digests(self) -> Iterator[str]:
        """Return the digests of all blobs."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if not path.name.startswith("."):
                yield path.parent.name + path.name

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise Invalid(f"'{digest}' is not a blob's name: that is 64 hexadecimal digits.")
        return self._root / digest[:2] / digest[2:]
