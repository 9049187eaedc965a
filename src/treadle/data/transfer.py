"""Copies a version of a dataset between stores; what is there is not copied again."""

import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from treadle.data.folder import AT_ONCE, SMALL_BYTES, Progress
from treadle.ports.blobs import Blobs, adding, asked_for, contents_of
from treadle.ports.manifest import entries
from treadle.ports.tree import TreeFile


def copy_version(
    source: Blobs, target: Blobs, digest: str, progress: Progress = lambda _: None
) -> int:
    """Copy a tree and all its files. What arrives is verified by its name.

    The manifest goes last, so a tree that a store has is whole there; a copy that was stopped goes
    on when it is repeated.

    Args:
        source: Where the tree is stored.
        target: Where to store it.
        digest: Digest of the manifest.
        progress: Is told how many files were looked at.

    Returns:
        The bytes that were copied.

    Raises:
        NotFound: A blob is not stored in the source.
        Corrupt: A blob is damaged in the source.
    """
    within, copied, count = asked_for(source, tree=digest), 0, 0
    if target.has(digest):
        return 0
    files = (file for _, file in entries(source, digest))
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder, "content")
        with adding(target) as add:
            while portion := list(islice(files, AT_ONCE)):
                missing = [file for file in portion if not target.has(file.digest)]
                copied += _copy(within, add, missing, aside)
                count += len(portion)
                progress(count)
        source.fetch(digest, aside)
        with adding(target) as add:
            add(aside)
    return copied


def _copy(
    source: Blobs, add: Callable[[bytes | Path], str], files: list[TreeFile], aside: Path
) -> int:
    small = contents_of(source, [file.digest for file in files if file.bytes < SMALL_BYTES])
    for content in small.values():
        add(content)
    for file in files:
        if file.digest not in small:
            source.fetch(file.digest, aside)
            add(aside)
            aside.unlink()
    return sum(file.bytes for file in {file.digest: file for file in files}.values())
