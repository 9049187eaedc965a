"""Passes listening sockets from one process to the next, so that a port stays open between them."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PATIENCE_SECONDS = 1.0


def offer_file(folder: Path, number: int) -> Path:
    """File at which a replica offers its listening socket.

    Args:
        folder: Folder of the endpoint.
        number: Number of the replica.
    """
    return folder / f"replica-{number}.socket"


def offer(listener: socket.socket, file: Path) -> None:
    """Hand a listening socket to every process that connects to a file.

    The offer holds for as long as the running event loop. Only the file's owner may connect.

    Args:
        listener: The socket to hand out; this process keeps it as well.
        file: Path of the Unix socket to make; what is there is replaced.
    """
    file.unlink(missing_ok=True)
    with _short_name(file) as name:
        handover = socket.socket(socket.AF_UNIX)
        handover.bind(name)
    file.chmod(0o600)
    handover.listen()
    handover.setblocking(False)

    def give() -> None:
        with suppress(OSError):
            connection, _ = handover.accept()
            with connection:
                socket.send_fds(connection, [b"1"], [listener.fileno()])

    asyncio.get_running_loop().add_reader(handover, give)


def taken(file: Path) -> socket.socket | None:
    """Take the listening socket that a process offers at a file.

    Args:
        file: Path of the Unix socket.

    Returns:
        The listening socket, or None when no process offers one.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PATIENCE_SECONDS)
        try:
            with _short_name(file) as name:
                connection.connect(name)
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 1)
        except OSError:
            return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


@contextmanager
def _short_name(file: Path) -> Iterator[str]:
    """A short name by way of the open folder: Unix sockets allow about 100 characters."""
    if len(os.fsencode(file)) < 100 or not Path("/proc/self/fd").exists():
        yield str(file)
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)
