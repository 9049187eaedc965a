"""Makes a folder hold a version of a dataset, and loses nothing that no version has."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from treadle.data.folder import AT_ONCE, SMALL_BYTES, FolderChanges, Progress, status
from treadle.data.scan import Item, item_of
from treadle.data.stat_index import StatIndex
from treadle.kernel.errors import Conflict, Corrupt
from treadle.ports.blobs import Blobs, asked_for, contents_of, digest_of, portions_of
from treadle.ports.manifest import entries
from treadle.ports.tree import TreeFile, make_link


def checkout(
    blobs: Blobs,
    digest: str,
    to: Path,
    index: StatIndex,
    *,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> FolderChanges:
    """Make a folder hold what a tree holds; or a file, where the tree is that of one such file.

    A folder that is not there appears as a whole. Of one that is there, the files that differ are
    replaced one by one, and those are removed that the version has had that was added from there
    or checked out to there last. Other files stay, as do those beside a single file.

    Args:
        blobs: Where the tree is stored.
        digest: Digest of the tree.
        to: The folder, or the file.
        index: What is known of its files.
        force: Whether files may be lost that the store does not have; then all files of a folder
            are removed that the tree does not name.
        progress: Is told how far it is.

    Returns:
        How the folder differed before: ``added`` files were removed, ``removed`` ones written.

    Raises:
        NotFound: A blob is not stored.
        Corrupt: A blob is damaged.
        Conflict: The folder holds files that would be lost, or a file is in the place of a folder.
    """
    within, written = asked_for(blobs, tree=digest), list[tuple[Item, str]]()
    done: FolderChanges | None = None
    folder = to
    if _is_of_one_file(blobs, digest, to):
        done, folder = _differing(blobs, digest, to, index), to.parent
    elif to.is_file():
        raise Conflict(f"'{to}' is a file, and the version is a folder. Name a folder.")
    elif to.exists() and any(to.iterdir()):
        done = status(blobs, digest, to, index)
    if done is None:
        with _whole(to) as aside:
            _write_all(within, entries(blobs, digest), aside, written, progress, fresh=True)
        done = FolderChanges(removed=[item.path for item, _ in written])
    else:
        if not force:
            done = _without_others(blobs, done, index)
            _refuse_loss(blobs, folder, done)
        for path in done.added:
            _remove(folder, path)
        wanted = {*done.removed, *done.changed}
        chosen = ((path, file) for path, file in entries(blobs, digest) if path in wanted)
        _write_all(within, chosen, folder, written, progress)
    for item, known in written:
        index.learn(item, known)
    index.keep()
    index.note_stored(blobs.url, digest)
    return done


def _is_of_one_file(blobs: Blobs, digest: str, to: Path) -> bool:
    """Whether a tree is that of one file with the name of the place that it goes to."""
    paths = [path for path, _ in islice(entries(blobs, digest), 2)]
    return paths == [to.name] and not to.is_dir()


def _differing(blobs: Blobs, digest: str, file: Path, index: StatIndex) -> FolderChanges:
    """How a file differs from the tree of it."""
    if file.exists():
        return status(blobs, digest, file, index)
    file.parent.mkdir(parents=True, exist_ok=True)
    return FolderChanges(removed=[file.name])


def _without_others(blobs: Blobs, done: FolderChanges, index: StatIndex) -> FolderChanges:
    """Leave files alone that the version before did not have: nobody said that they are data."""
    before = index.stored(blobs.url)
    there = before is not None and bool(done.added) and blobs.has(before)
    had = {path for path, _ in entries(blobs, before)} if there and before else set[str]()
    return FolderChanges(
        added=[path for path in done.added if path in had],
        removed=done.removed,
        changed=done.changed,
        same=done.same,
    )


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
