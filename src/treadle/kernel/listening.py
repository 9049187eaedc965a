"""Listening sockets that outlive the process that made them: they pass from one that holds them to the next that asks."""

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

_PATIENCE_SECONDS = 1.0


def offer_file(folder: Path, number: int) -> Path:
    """Where replica ``number`` of the endpoint in ``folder`` offers its listening socket."""
    return folder / f"replica-{number}.socket"


def offer(listener: socket.socket, file: Path) -> None:
    """Hand a listening socket to whoever connects to a file, for as long as the event loop runs. Only the file's owner may."""
    file.unlink(missing_ok=True)
    with _folder(file) as name:
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
            with _folder(file) as name:
                asking.connect(name)
            _, given, _, _ = socket.recv_fds(asking, 1, 1)
        except OSError:
            return None
    return socket.socket(fileno=given[0]) if given else None


class _folder:
    """A name for a file by way of its open folder: a socket's own may have a hundred characters only."""

    def __init__(self, file: Path) -> None:
        self._file, self._open = file, -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._file)) < 100 or not Path("/proc/self/fd").exists():
            return str(self._file)
        self._open = os.open(self._file.parent, os.O_RDONLY)
        return f"/proc/self/fd/{self._open}/{self._file.name}"

    def __exit__(self, *_: object) -> None:
        if self._open >= 0:
            os.close(self._open)
