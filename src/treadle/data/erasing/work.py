"""The folder in which an erasure looks into files, and the lock that only one of them holds."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle.kernel.errors import Conflict
from treadle.kernel.process import hold, release

_FOLDER = "erasing"


@contextmanager
def working_in(cache: Path) -> Iterator[Path]:
    """Give an empty folder of the home's cache, and leave nothing in it.

    What a process left in it that was killed is removed too.

    Args:
        cache: The home's cache.

    Raises:
        Conflict: Another process looks for a person's rows in this home now.
    """
    folder = cache / _FOLDER
    try:
        held = hold(cache / f"{_FOLDER}.lock", what="The home's erasing")
    except Conflict as error:
        raise Conflict(
            "Another process looks for a person's rows in this home now. Try again when it is done."
        ) from error
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        release(held)


def drop_cached(cache: Path, digests: list[str]) -> None:
    """Remove copies of contents from the home's cache.

    Args:
        cache: The home's cache.
        digests: The contents.
    """
    for digest in digests:
        for copy in (cache / digest, *cache.glob(f"*/{digest}*")):
            if copy.is_dir():
                shutil.rmtree(copy, ignore_errors=True)
            else:
                copy.unlink(missing_ok=True)
