"""Stores what takes the place of contents with a subject's rows; removes what nothing names."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from treadle.data.erasing.finding import Found, Progress, may_be_tree
from treadle.data.erasing.subject import Matching
from treadle.data.erasing.table_rows import redact
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.stage import NAMED_CONTENT, Assembly
from treadle.ports.blobs import Ageing, Blobs, adding
from treadle.ports.content import Replacement
from treadle.ports.manifest import ManifestWriter, entries

PATIENCE_SECONDS = 60.0
"""How long to wait for another process that adds contents."""
CLOCK_SECONDS = 0.05
"""How far the times of a store and of this process may be apart."""
T = TypeVar("T")
_Add = Callable[[bytes | Path], str]


class Successors(NamedTuple):
    """What takes the place of contents with rows of some subjects.

    Attributes:
        replaced: What takes the place of each content that something names; files of trees among
            them.
        broken: Why a file cannot be rewritten, by digest: such files stay.
    """

    replaced: dict[str, Replacement]
    broken: dict[str, str]


def store_successors(
    blobs: Blobs,
    found: Found,
    subjects: list[Matching],
    folder: Path,
    progress: Progress = lambda *_: None,
) -> Successors:
    """Store the contents that take the place of those with rows of some subjects.

    Args:
        blobs: Where to.
        found: What was found.
        subjects: The subjects.
        folder: Where files are put meanwhile.
        progress: Is told how far it is.
    """
    replaced: dict[str, Replacement] = {}
    broken: dict[str, str] = {}
    wanted = {file for held in found.held for file in found.trees.get(held, {held})}
    with adding(blobs) as add:
        for done, digest in enumerate(sorted(wanted), start=1):
            try:
                one = _file(blobs, add, digest, found, subjects, folder)
            except (Conflict, OSError):
                raise  # the store's, or the disk's: it may go on later
            except Exception as error:  # whatever somebody else's file makes a reader say
                broken[digest] = f"it cannot be rewritten ({type(error).__name__})"
                one = None
            if one is not None:
                replaced[digest] = one
            progress("rewritten", done, len(wanted))
        rest = found.without(broken)
        trees = {
            tree: _tree(blobs, add, tree, rest, replaced)
            for tree in rest.held
            if tree in rest.trees
        }
    return Successors(replaced | trees, broken)


def _file(
    blobs: Blobs, add: _Add, digest: str, found: Found, subjects: list[Matching], folder: Path
) -> Replacement | None:
    """Store a file without the rows; None where nothing of it is left."""
    name, look = found.files[digest]
    if look.whole and digest not in found.held:
        return None
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        before, after = Path(aside, "before"), Path(aside, "after")
        blobs.fetch(digest, before)
        removed = redact(before, name, subjects, after)
        new = blobs.put(after) if digest in found.held else add(after)
        return Replacement(new, 1, after.stat().st_size, removed)


def _tree(
    blobs: Blobs, add: _Add, tree: str, found: Found, replaced: dict[str, Replacement]
) -> Replacement:
    """Store a tree that names other files."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "manifest")
        with file.open("wb") as target:
            manifest = ManifestWriter(target)
            for path, entry in entries(blobs, tree):
                new = replaced.get(entry.digest)
                if new is not None:
                    manifest.add(path, new.digest, new.bytes)
                elif entry.digest not in found.trees[tree]:
                    manifest.add(path, entry.digest, entry.bytes, link=entry.link)
            manifest.end()
        digest = add(file)
    return Replacement(digest, manifest.files, manifest.bytes, found.rows_in(tree))


def spare_named(
    assembly: Assembly,
    blobs: Blobs,
    candidates: dict[str, int],
    progress: Progress = lambda *_: None,
    *,
    noted: bool = True,
) -> None:
    """Take out of some contents what anything names, itself or by a tree.

    Args:
        assembly: Knows the stages that name contents.
        blobs: Where the contents are.
        candidates: The contents, by digest; those that are named are taken out.
        progress: Is told how far it is.
        noted: Whether a content counts that somebody only told of, such as data that a run noted.
    """
    named = {
        each.digest
        for answer in assembly.answers(NAMED_CONTENT)
        for each in answer.method()
        if noted or each.kept
    }
    for done, digest in enumerate(sorted(named), start=1):
        candidates.pop(digest, None)
        for file in _named_by(blobs, digest) if candidates else ():
            candidates.pop(file, None)
        progress("looking at what is named", done, len(named))


def _named_by(blobs: Blobs, digest: str) -> Iterator[str]:
    """The digests of a tree's files; none where it is no tree, or a client only told of it."""
    try:
        if may_be_tree(blobs, digest):
            yield from (file.digest for _, file in entries(blobs, digest))
    except (NotFound, Invalid):
        return


def remove_contents(blobs: Blobs, digests: Iterable[str], since: float) -> list[str]:
    """Remove contents, and give their room back; waits a while for others that add contents.

    Args:
        blobs: Where they are.
        digests: The contents.
        since: When it was decided that nothing names them, in seconds since 1970. What somebody
            has added since stays.

    Returns:
        Those that stay.

    Raises:
        Conflict: Another process has been adding contents all the time.
    """
    first = math.floor(since) - CLOCK_SECONDS  # stores may know the second only
    stay = []
    for digest in digests:
        if not _patiently(lambda digest=digest: _remove(blobs, digest, first)):  # type: ignore[misc]
            stay.append(digest)
    if isinstance(blobs, Ageing):
        _patiently(blobs.tidy)
    return stay


def _remove(blobs: Blobs, digest: str, first: float) -> bool:
    """Remove a content unless it was added since a moment; gives whether it is gone."""
    if isinstance(blobs, Ageing):
        return blobs.remove_old(digest, time.time() - first)
    blobs.delete(digest)
    return True


def _patiently(work: Callable[[], T]) -> T:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except Conflict:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
