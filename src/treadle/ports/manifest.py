"""Writes and reads manifests of trees an entry at a time, so that a million files need no memory.

What is written has the bytes that ``to_json(Tree(…))`` would have, so a tree's digest does not
depend on how its manifest came about.
"""

import os
import re
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
EMPTY = _FIRST + _LAST
"""The manifest of a tree without files."""
HEAD = _FIRST + b'"'
"""What the manifest of a tree with files begins with."""
_BETWEEN = b'},"'
_ENTRY_END = re.compile(rb'"(?:bytes":\d+|digest":"[0-9a-f]*"|link":(?:true|false))$')
"""How an entry ends before ``_BETWEEN``. No path ends so: its quotes have backslashes."""
_LONGEST_END = 80


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

    What is read is what ``from_json(…, Tree)`` would read: who may read the files is decided by
    that, so a content that the two would read differently is refused.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the manifest.

    Yields:
        Path and file.

    Raises:
        NotFound: No blob has that digest.
        Invalid: The blob is not a manifest; perhaps after some of its files.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "manifest")
        blobs.fetch(digest, copy)
        with copy.open("rb") as file:
            end = os.fstat(file.fileno()).st_size - len(_LAST)
            if end < len(_FIRST) or _ends(file, end) != (_FIRST, _LAST):
                raise _no_manifest(digest)
            before: str | None = None
            for path, entry in _entries(file, end):
                if before is not None and path <= before:
                    raise _no_manifest(digest)
                yield path, entry
                before = path


def _no_manifest(digest: str) -> Invalid:
    return Invalid(f"Content {digest[:12]} is not the manifest of a folder.")


def _ends(file: IO[bytes], end: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file, which is then read from behind the first ones."""
    file.seek(end)
    last = file.read()
    file.seek(0)
    return file.read(len(_FIRST)), last


def _entries(file: IO[bytes], end: int) -> Iterator[tuple[str, TreeFile]]:
    rest = b""
    while block := file.read(min(_BLOCK_BYTES, end - file.tell())):
        rest += block
        cut = _last_entry_end(rest)
        if cut >= 0:
            yield from from_json(b"{%s}" % rest[: cut + 1], dict[str, TreeFile]).items()
            rest = rest[cut + 2 :]
    yield from from_json(b"{%s}" % rest, dict[str, TreeFile]).items()


def _last_entry_end(text: bytes) -> int:
    """Where the last entry ends that another follows; -1 where there is none."""
    cut = text.rfind(_BETWEEN)
    while cut >= 0 and not _ENTRY_END.search(text, max(0, cut - _LONGEST_END), cut):
        cut = text.rfind(_BETWEEN, 0, cut)
    return cut
