"""Stores blobs as files: written aside, synced, renamed into place, verified when read."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.kernel.errors import Corrupt, Invalid, NotFound
from treadle.ports.blobs import digest_of


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
            _write_atomically(path, content)
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
        aside = to.with_name(f".{digest}.{os.getpid()}")
        try:
            aside.unlink(missing_ok=True)
            aside.hardlink_to(self._path(digest))
            aside.replace(to)
        except OSError:
            _write_atomically(to, content)
        finally:
            aside.unlink(missing_ok=True)

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

    def digests(self) -> Iterator[str]:
        """Return the digests of all blobs."""
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if not path.name.startswith("."):
                yield path.parent.name + path.name

    def _path(self, digest: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise Invalid(f"'{digest}' is not a blob's name: that is 64 hexadecimal digits.")
        return self._root / digest[:2] / digest[2:]


def _write_atomically(path: Path, content: bytes | Path) -> None:
    """Write a file that appears whole and durable, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
