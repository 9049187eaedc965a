"""Stores folders of data as trees, compares them with trees, and makes them again."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from treadle.data.scan import Item, item_of, scan
from treadle.data.stat_index import StatIndex
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Conflict, Corrupt
from treadle.ports.blobs import Blobs, adding, asked_for, contents_of, digest_of, portions_of
from treadle.ports.manifest import ManifestWriter, entries
from treadle.ports.tree import TreeFile, make_link

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


def checkout(
    blobs: Blobs,
    digest: str,
    to: Path,
    index: StatIndex,
    *,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> FolderChanges:
    """Make a folder hold what a tree holds.

    A folder that is not there appears as a whole. Of one that is there, the files that differ are
    replaced one by one, and files that the tree does not name are removed.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the tree.
        to: The folder.
        index: What is known of its files.
        force: Whether files may be lost that the store does not have.
        progress: Is told how far it is.

    Returns:
        How the folder differed before: ``added`` files were removed, ``removed`` ones written.

    Raises:
        NotFound: A blob is not stored.
        Corrupt: A blob is damaged.
        Conflict: The folder holds files that would be lost.
    """
    within, written = asked_for(blobs, tree=digest), list[tuple[Item, str]]()
    if not to.exists() or not any(to.iterdir()):
        with _whole(to) as aside:
            _write_all(within, entries(blobs, digest), aside, written, progress, fresh=True)
        done = FolderChanges(removed=[item.path for item, _ in written])
    else:
        done = status(blobs, digest, to, index)
        if not force:
            _refuse_loss(blobs, to, done)
        for path in done.added:
            _remove(to, path)
        wanted = {*done.removed, *done.changed}
        chosen = ((path, file) for path, file in entries(blobs, digest) if path in wanted)
        _write_all(within, chosen, to, written, progress)
    for item, known in written:
        index.learn(item, known)
    index.keep()
    index.note_stored(blobs.url, digest)
    return done


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


def _write_all(
    blobs: Blobs,
    files: Iterator[tuple[str, TreeFile]],
    to: Path,
    written: list[tuple[Item, str]],
    progress: Progress,
    *,
    fresh: bool = False,
) -> None:
    """Write files of a tree into a folder, and list those that were written.

    Nobody knows of a folder that is fresh, so its files are written in their place.
    """
    links: list[tuple[str, TreeFile]] = []
    folders: set[str] = set()

    while portion := list(islice(files, AT_ONCE)):
        small = contents_of(blobs, [file.digest for _, file in portion if file.bytes < SMALL_BYTES])
        for path, file in portion:
            parent, slash, name = path.rpartition("/")
            if name in (".", "..") or (slash and not parent):
                raise _leaves(path)
            if parent not in folders:
                _make_folder(to, parent)
                folders.add(parent)
            if file.link:
                links.append((path, file))
            elif name:
                content = small.get(file.digest)
                portions = [content] if content is not None else portions_of(blobs, file.digest)
                written.append((_write(portions, f"{to}/{path}", path, fresh), file.digest))
        progress(len(written))
    for path, file in links:  # last, so that no file is written through one
        make_link(to / path, path, blobs.get(file.digest))


def _write(portions: Iterable[bytes], place: str, path: str, fresh: bool) -> Item:
    """Write a file, beside what is there and then in its place; it may be written to."""
    folder, slash, name = place.rpartition("/")
    aside = place if fresh else f"{folder}{slash}.{name[:200]}.{os.getpid():x}"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            for portion in portions:
                _write_portion(descriptor, portion)
            known = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not fresh:
            os.replace(aside, place)  # noqa: PTH105, of a million files each microsecond counts
            known = os.stat(place)  # noqa: PTH116
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    return item_of(path, known)


def _write_portion(descriptor: int, portion: bytes) -> None:
    rest = memoryview(portion)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _make_folder(to: Path, path: str) -> None:
    """Make a folder of a tree, which no link on the way may lead elsewhere.

    Raises:
        Corrupt: Its path leads out of the tree.
        Conflict: A link is in the place of it or of a folder above.
    """
    place = to
    for part in path.split("/") if path else ():
        if part in ("", ".."):
            raise Corrupt(
                f"A stored folder names '{path}', which would leave the folder; it was not written."
            )
        place /= part
        if place.is_symlink():
            raise Conflict(f"'{place}' is a link, and a folder belongs there. Remove it first.")
    place.mkdir(parents=True, exist_ok=True)


def _leaves(path: str) -> Corrupt:
    return Corrupt(
        f"A stored folder names '{path}', which would leave the folder; it was not written."
    )


def _refuse_loss(blobs: Blobs, to: Path, done: FolderChanges) -> None:
    """Refuse to overwrite or remove files whose content is stored nowhere."""
    for path in (*done.changed, *done.added):
        file = to / path
        if file.is_symlink() or path.endswith("/"):
            continue
        if not blobs.has(digest_of(file)):
            raise Conflict(
                f"'{file}' holds what is not stored, and would be lost. Add it first with "
                "'treadle data add', or check out with --force."
            )


def _remove(to: Path, path: str) -> None:
    """Remove a file, and the folders above it that hold nothing more."""
    place = to / path
    if path.endswith("/"):
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
    for folder in place.parents:
        if folder == to or any(folder.iterdir()):
            return
        folder.rmdir()


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a path at which to make a folder, which then takes the place of an empty one."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    aside.mkdir(parents=True)
    try:
        yield aside
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
