"""Files that appear under their name as a whole or not at all, whatever stops the writer."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(
    file: Path, content: bytes | Path, *, durable: bool = False, mode: int | None = None
) -> None:
    """Write a file, or replace one: readers see the whole old content or the whole new one.

    Args:
        file: The file; its folder is there already.
        content: The content, or a file that holds it.
        durable: Whether the content is on the disk when the call returns, so that a power failure
            cannot lose it. Without it only a crash of the process is survived.
        mode: The file's permissions, from its first byte on; None takes those of new files.

    Raises:
        OSError: The file cannot be written; what was there before is unchanged.
    """
    with replacing(file, durable=durable) as aside:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(aside, flags, 0o666 if mode is None else mode), "wb") as target:
            if mode is not None:
                os.fchmod(target.fileno(), mode)
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            else:
                target.write(content)


@contextmanager
def replacing(file: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path beside a file to write at, and put what was written there in the file's place.

    Where the block raises, the file stays as it was and what was written is removed.

    Args:
        file: The file; its folder is there already.
        durable: Whether the content is on the disk when the block has ended.

    Yields:
        The path to write at, at which there is nothing. Its name begins with a dot.

    Raises:
        OSError: The file cannot be replaced.
    """
    aside = file.with_name(f".{secrets.token_hex(8)}")
    try:
        yield aside
        if durable:
            _sync(aside)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)  # a rename between two links of one file does nothing
    if durable:
        _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
