"""Writes and reads manifests of trees an entry at a time, so that a million files need no memory.

What is written has the bytes that ``to_json(Tree(…))`` would have, so a tree's digest does not
depend on how its manifest came about.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.ports.blobs import Blobs
from treadle.ports.tree import TreeFile

_BLOCK_BYTES = 1 << 20
_FIRST, _LAST = b'{"files":{', b"}}"
_BETWEEN = b'},"'
"""What is between two entries. No path holds it: quotes in a path are written with a backslash."""


class ManifestWriter:
    """Writes a manifest into a file, in the order of its paths.

    Args:
        file: Where to write.

    Attributes:
        files: Number of entries so far.
        bytes: Size of all files so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.files = self.bytes = 0
        self._file.write(_FIRST)

    def add(self, path: str, digest: str, size: int, *, link: bool = False) -> None:
        """Write an entry.

        Args:
            path: POSIX path relative to the tree, greater than the one before; an empty folder's
                ends in a slash.
            digest: Digest of its content.
            size: Its size in bytes.
            link: Whether it is a symbolic link, whose content is its target.
        """
        comma, mark = b"," if self.files else b"", b',"link":true' if link else b""
        entry = b'%s%s:{"digest":"%s","bytes":%d%s}'
        self._file.write(entry % (comma, to_json(path), digest.encode(), size, mark))
        self.files += 1
        self.bytes += size

    def end(self) -> None:
        """Write what follows the last entry."""
        self._file.write(_LAST)


def entries(blobs: Blobs, digest: str) -> Iterator[tuple[str, TreeFile]]:
    """Read the files of a tree in the order of their paths.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the manifest.

    Yields:
        Path and file.

    Raises:
        NotFound: No blob has that digest.
        Invalid: The blob is not a manifest.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "manifest")
        blobs.fetch(digest, copy)
        with copy.open("rb") as file:
            if file.read(len(_FIRST)) != _FIRST:
                raise Invalid(f"Content {digest[:12]} is not the manifest of a folder.")
            yield from _entries(file, os.fstat(file.fileno()).st_size - len(_LAST))


def _entries(file: IO[bytes], end: int) -> Iterator[tuple[str, TreeFile]]:
    rest = b""
    while block := file.read(min(_BLOCK_BYTES, end - file.tell())):
        rest += block
        cut = rest.rfind(_BETWEEN)
        if cut >= 0:
            yield from from_json(b"{%s}" % rest[: cut + 1], dict[str, TreeFile]).items()
            rest = rest[cut + 2 :]
    yield from from_json(b"{%s}" % rest, dict[str, TreeFile]).items()
