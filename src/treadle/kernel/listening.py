"""Listening sockets that outlive the process that made them: they pass from one that holds them to the next that asks."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE_SECONDS = 1.0


def offer_file(folder: Path, number: int) -> Path:
    """Where replica ``number`` of the endpoint in ``folder`` offers its listening socket."""
    return folder / f"replica-{number}.socket"


def offer(listener: socket.socket, file: Path) -> None:
    """Hand a listening socket to whoever connects to a file, for as long as the event loop runs. Only the file's owner may."""
    file.unlink(missing_ok=True)
    with _short_name(file) as name:
        offered = socket.socket(socket.AF_UNIX)
        offered.bind(name)
    file.chmod(0o600)
    offered.listen()
    offered.setblocking(False)

    def give() -> None:
        with suppress(OSError):
            asked, _ = offered.accept()
            with asked:
                socket.send_fds(asked, [b"1"], [listener.fileno()])

    asyncio.get_running_loop().add_reader(offered, give)


def taken(file: Path) -> socket.socket | None:
    """The listening socket that is offered at a file; None when nobody offers one."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_PATIENCE_SECONDS)
        try:
            with _short_name(file) as name:
                asking.connect(name)
            _, given, _, _ = socket.recv_fds(asking, 1, 1)
        except OSError:
            return None
    return socket.socket(fileno=given[0]) if given else None


@contextmanager
def _short_name(file: Path) -> Iterator[str]:
    """A name for a file by way of its open folder: a socket's own may have a hundred characters only."""
    if len(os.fsencode(file)) < 100 or not Path("/proc/self/fd").exists():
        yield str(file)
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
