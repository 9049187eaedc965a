"""Folders that steps write into; those of processes that were killed are removed by the next."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that is removed after the block, or after the end of this process.

    Args:
        parent: Where to make it; it is made when absent.

    Yields:
        The folder.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        owner = left.name.partition(".")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f"{os.getpid()}.{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        for made in parent.glob(f"{folder.name}*"):
            shutil.rmtree(made, ignore_errors=True)
