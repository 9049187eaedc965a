"""Copies the contents of a blob store to another one; what is there already stays."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Conflict, Corrupt
from treadle.platform.verify.findings import Progress
from treadle.ports.blobs import Blobs, Catalogue, adding

AT_ONCE = 100
"""Contents after which what was copied is durable: an interrupted move copies no more again."""
THREADS = 8
"""Contents that are on their way at the same time, since each waits for the network."""


class CopiedContents(Entity):
    """What came of copying contents.

    Attributes:
        contents: How many contents there are.
        copied: How many were not there yet.
        bytes: The size of what was copied.
    """

    contents: int
    copied: int
    bytes: int


def refuse_others(source: Blobs, target: Blobs) -> None:
    """Check that a store holds nothing but contents of another one.

    Args:
        source: The store of the home.
        target: The store that will hold the same.

    Raises:
        Conflict: It holds others, which removals in either home could concern.
    """
    others = set(target.digests()) - set(source.digests())
    if others:
        raise Conflict(
            f"The store {target.url} holds {len(others):,} contents that the home does not have. "
            "Name an empty one, such as another prefix."
        )


def copy_contents(source: Blobs, target: Blobs, folder: Path, progress: Progress) -> CopiedContents:
    """Copy contents that are not there yet, each verified on both sides; and names.

    Args:
        source: The store to copy from.
        target: The store to copy to.
        folder: Where a content may lie on its way.
        progress: Called with what is copied, how many are done and how many there are.

    Returns:
        What was copied.

    Raises:
        Corrupt: A content is damaged.
    """
    digests = sorted(source.digests())
    missing = sorted(set(digests) - set(target.digests()))
    copied = size = 0
    progress("contents", 0, len(missing))
    for some in _portions(missing):
        size += _copy(some, source, target, folder)
        copied += len(some)
        progress("contents", copied, len(missing))
    if isinstance(source, Catalogue) and isinstance(target, Catalogue):
        for name in source.names():
            for digest in reversed(source.named(name)):  # the one that was noted last stays so
                target.note_name(name, digest)
    return CopiedContents(contents=len(digests), copied=copied, bytes=size)


def _copy(digests: list[str], source: Blobs, target: Blobs, folder: Path) -> int:
    """Copy some contents, which are durable afterwards. Gives their size."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".")))
        together = hasattr(target, "adding")
        add = stack.enter_context(adding(target))

        def fetched(digest: str) -> Path:
            try:
                source.fetch(digest, folder / digest)
            except Corrupt as error:
                raise Corrupt(
                    f"{error.message} Nothing was moved; see: treadle verify --repair"
                ) from error
            return folder / digest

        def stored(file: Path) -> int:
            return _stored(file, add)

        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        files = pool.map(fetched, digests)
        return sum(
            map(stored, files) if together else pool.map(lambda d: stored(fetched(d)), digests)
        )


def _stored(file: Path, add: Callable[[bytes | Path], str]) -> int:
    size = file.stat().st_size
    if add(file) != file.name:
        raise Corrupt(f"Content {file.name[:12]} was not stored as it is.")
    file.unlink()
    return size


def _portions(digests: list[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while some := list(islice(rest, AT_ONCE)):
        yield some
