"""Walks a folder of data in the order in which a manifest names its files."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from treadle.kernel.errors import Invalid, NotFound
from treadle.ports.tree import stays_within

CACHE = "__pycache__"


class Item(NamedTuple):
    """A file, a link or an empty folder.

    Attributes:
        path: POSIX path relative to what was scanned; an empty folder's ends in a slash.
        size: Size in bytes.
        changed_ns: When the file or what is known of it was changed last, in nanoseconds.
        inode: Its number in the file system.
        link: Target of a symbolic link that stays within the folder; empty for all else.
    """

    path: str
    size: int
    changed_ns: int
    inode: int
    link: str = ""


def scan(source: Path) -> Iterator[Item]:
    """List the files of a folder, or one file, in the order of their paths.

    Hidden files and folders and ``__pycache__`` are left out. Links to files outside the folder
    stand for those files; links to folders outside are left out.

    Args:
        source: The folder or file.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: A name is hidden where it must not be, or no text.
    """
    if not source.exists():
        raise NotFound(
            f"There is no file or folder at '{source}'. Check the path, or create it first."
        )
    if source.name.startswith("."):
        raise Invalid(f"'{source}' is hidden, and hidden files are not stored. Rename it.")
    if source.is_file():
        yield item_of(source.name, source.stat())
        return
    yield from _within(source, "")


def _within(folder: Path, prefix: str) -> Iterator[Item]:
    """The items of a folder; names are sorted as they stand in whole paths."""
    names = _names(folder)
    if not names and prefix:
        yield Item(prefix, 0, 0, 0)
    for name in names:
        if name.endswith("/"):
            yield from _within(folder / name, prefix + name)
            continue
        path = f"{folder}/{name}"
        try:
            item = _item(path, prefix + name)
        except FileNotFoundError:
            continue  # it was removed meanwhile, or is a link to nothing
        if item is not None:
            yield item


def _names(folder: Path) -> list[str]:
    """What is stored of a folder: names, those of folders with a slash."""
    names = []
    with os.scandir(folder) as found:
        for entry in found:
            name = entry.name
            if name.startswith(".") or name == CACHE:
                continue
            if not name.isascii():
                _require_text(name, folder)
            names.append(f"{name}/" if entry.is_dir(follow_symlinks=False) else name)
    names.sort()
    return names


def _item(path: str, relative: str) -> Item | None:
    known = os.lstat(path)
    if stat.S_ISLNK(known.st_mode):
        target = os.readlink(path)  # noqa: PTH115
        if stays_within(relative, target):
            return item_of(relative, known)._replace(link=target)
        known = os.stat(path)  # noqa: PTH116, strings are faster by half
    if not stat.S_ISREG(known.st_mode):
        return None
    return item_of(relative, known)


def item_of(path: str, known: os.stat_result) -> Item:
    """What the file system says of a file.

    Args:
        path: Its POSIX path relative to the folder.
        known: What the system says; of its times the later one counts, as a copy may keep the time
            at which the content was written.
    """
    changed = max(known.st_mtime_ns, known.st_ctime_ns)
    return Item(path, known.st_size, changed, known.st_ino)


def _require_text(name: str, folder: Path) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode(errors="replace")
        raise Invalid(
            f"The name '{shown}' in '{folder}' is not UTF-8, so no manifest can hold it. Rename it."
        ) from error
