"""Stores folders of data as trees, compares them with trees, and makes them again."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from treadle.data.scan import Item, item_of, scan
from treadle.data.stat_index import StatIndex
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Conflict
from treadle.ports.blobs import Blobs, adding, digest_of
from treadle.ports.manifest import ManifestWriter, entries
from treadle.ports.tree import TreeFile

AT_ONCE = 500
"""Files that are handled between two tellings of the progress."""
SMALL_BYTES = 1 << 20
"""Contents below this size are read many at a time."""
Progress = Callable[[int], None]
"""Takes the number of files that are done."""


class Stored(NamedTuple):
    """A folder that was stored.

    Attributes:
        digest: Digest of its tree.
        files: Number of its files, links and empty folders.
        bytes: Size of its files together.
        read: Number of files that had to be read.
    """

    digest: str
    files: int
    bytes: int
    read: int


class FolderChanges(Entity):
    """What distinguishes a tree or folder from an earlier one.

    Attributes:
        added: Paths of files that were not there before.
        removed: Paths of files that are not there any more.
        changed: Paths of files with another content.
        same: Number of files with the same content.
        more: Number of further files that are different and not named.
    """

    added: list[str] = []
    removed: list[str] = []
    changed: list[str] = []
    same: int = 0
    more: int = 0

    def cut(self, most: int) -> "FolderChanges":
        """The same with fewer names.

        Args:
            most: Names of each kind that are kept at most.
        """
        kinds = (self.added, self.removed, self.changed)
        more = sum(max(0, len(paths) - most) for paths in kinds)
        added, removed, changed = (paths[:most] for paths in kinds)
        return FolderChanges(
            added=added, removed=removed, changed=changed, same=self.same, more=more
        )

    @property
    def any(self) -> bool:
        """Whether anything is different."""
        return bool(self.added or self.removed or self.changed)


def store(
    blobs: Blobs, source: Path, index: StatIndex, progress: Progress = lambda _: None
) -> Stored:
    """Store a folder or file; files that the store has and that were not changed are not read.

    Args:
        blobs: Where to store it.
        source: The folder or file.
        index: What is known of its files.
        progress: Is told how far it is.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: A name cannot be stored.
        Conflict: A file was changed while it was read.
    """
    before = index.stored(blobs.url)
    there = _Before(blobs, before if before and blobs.has(before) else None)
    read = count = 0
    with tempfile.TemporaryDirectory() as folder, adding(blobs) as add:
        file = Path(folder, "manifest")
        with file.open("wb") as target:
            manifest = ManifestWriter(target)
            for item, known in index.known(scan(source)):
                count += 1
                if count % AT_ONCE == 0:
                    progress(count)
                if not _is_file(item):
                    known = digest_of(_bytes_of(item, source))
                if known is None or not there.has(item.path, known):
                    begun_ns, read = time.time_ns(), read + _is_file(item)
                    known = _add(add, source, item)
                    index.learn(item, known, read_at_ns=begun_ns)
                manifest.add(item.path, known, item.size, link=bool(item.link))
            manifest.end()
        digest = add(file)
    index.keep()
    index.note_stored(blobs.url, digest)
    progress(count)
    return Stored(digest, manifest.files, manifest.bytes, read)


def changes(blobs: Blobs, old: str, new: str) -> FolderChanges:
    """Compare two trees.

    Args:
        blobs: Where both are stored.
        old: Digest of the earlier tree.
        new: Digest of the later one.
    """
    return _compared(entries(blobs, old), entries(blobs, new))


def status(
    blobs: Blobs, digest: str, source: Path, index: StatIndex, progress: Progress = lambda _: None
) -> FolderChanges:
    """Compare a folder with a tree; files that were not changed since they were read are not read.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the tree.
        source: The folder or file.
        index: What is known of its files.
        progress: Is told how far it is.
    """

    def present() -> Iterator[tuple[str, TreeFile]]:
        for count, (item, known) in enumerate(index.known(scan(source)), start=1):
            if count % AT_ONCE == 0:
                progress(count)
            if known is None:
                begun_ns = time.time_ns()
                known = digest_of(_bytes_of(item, source))
                index.learn(item, known, read_at_ns=begun_ns)
            yield item.path, TreeFile(digest=known, bytes=item.size, link=bool(item.link))

    found = _compared(entries(blobs, digest), present())
    index.keep()
    return found


def _add(add: Callable[[bytes | Path], str], source: Path, item: Item) -> str:
    """Store one file, and make sure that it was not changed meanwhile."""
    content = _bytes_of(item, source)
    digest = add(content)
    if isinstance(content, Path) and item_of(item.path, content.stat()) != item:
        raise Conflict(
            f"'{content}' was changed while it was read. Add the data again when nobody "
            "writes to them."
        )
    return digest


def _bytes_of(item: Item, source: Path) -> bytes | Path:
    """A file's path; the content that stands for a link or an empty folder."""
    if not _is_file(item):
        return os.fsencode(item.link)
    return source if source.is_file() else source / item.path


def _is_file(item: Item) -> bool:
    """Whether it is a file, not a link or an empty folder."""
    return not (item.link or item.path.endswith("/"))


class _Before:
    """The tree that a store was given before, asked in the order of its paths."""

    def __init__(self, blobs: Blobs, digest: str | None) -> None:
        self._entries = entries(blobs, digest) if digest else iter(())
        self._entry = next(self._entries, None)

    def has(self, path: str, digest: str) -> bool:
        while self._entry is not None and self._entry[0] < path:
            self._entry = next(self._entries, None)
        return (
            self._entry is not None and self._entry[0] == path and self._entry[1].digest == digest
        )


def _compared(
    old: Iterator[tuple[str, TreeFile]], new: Iterator[tuple[str, TreeFile]]
) -> FolderChanges:
    """Merge two lists of files that are in the order of their paths."""
    added, removed, changed, same = [], [], [], 0
    before, after = next(old, None), next(new, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before[0] < after[0]):
            removed.append(before[0])  # type: ignore[index]
            before = next(old, None)
        elif before is None or after[0] < before[0]:
            added.append(after[0])
            after = next(new, None)
        else:
            is_same = before[1] == after[1]
            same += is_same
            if not is_same:
                changed.append(after[0])
            before, after = next(old, None), next(new, None)
    return FolderChanges(added=added, removed=removed, changed=changed, same=same)
