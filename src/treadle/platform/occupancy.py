"""Who works on a home: many at once, or one alone while it is moved.

Whoever opens a home holds a shared lock until it is closed or the process ends. A move asks the
home's own processes to leave, and then holds the lock alone.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from treadle.kernel import process
from treadle.kernel.errors import Conflict, Unavailable

_LOOK_SECONDS = 0.05


def entered(home: Path) -> IO[str]:
    """Note that this process works on a home, until the file that is returned is closed.

    Args:
        home: The home's folder.

    Raises:
        Unavailable: The home is being moved.
    """
    file = _lock(home)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Unavailable(
            f"The home '{home}' is being moved. Try again when 'treadle move' has ended."
        ) from error
    return file


def is_closing(home: Path) -> bool:
    """Whether a move wants the home for itself, so that its processes are to leave it.

    Args:
        home: The home's folder.
    """
    return process.is_held(_closing(home))


@contextmanager
def alone(home: Path, *, patience_seconds: float) -> Iterator[None]:
    """Work on a home alone for as long as the block lasts; server and worker wait meanwhile.

    Args:
        home: The home's folder.
        patience_seconds: How long others may take to leave it.

    Raises:
        Conflict: Another process goes on working on the home.
    """
    closing = process.hold(_closing(home), what=f"The home '{home}'")
    try:
        with _lock(home) as file:
            until = time.monotonic() + patience_seconds
            while not _taken(file):
                if time.monotonic() > until:
                    raise Conflict(
                        f"Other processes work on the home '{home}'{_named(file)}: a script that "
                        "records a run, or a command. Wait for them or end them, and try again."
                    )
                time.sleep(_LOOK_SECONDS)
            yield
    finally:
        process.release(closing)


def _closing(home: Path) -> Path:
    return home / "run" / "closing.lock"


def _lock(home: Path) -> IO[str]:
    file = home / "run" / "open.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.open("a")


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _named(file: IO[str]) -> str:
    """The processes that hold a lock, as Linux lists them."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ""
    inode = f":{os.fstat(file.fileno()).st_ino}"
    pids = sorted({line.split()[4] for line in lines if line.split()[5].endswith(inode)})
    return f" (pid {', '.join(pids)})" if pids else ""
