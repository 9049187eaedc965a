"""Forks processes of Treadle for whoever asks at a socket, until its starter has ended.

Two servers share the folder that the argument names. ``light.sock`` has the core dependencies
loaded; ``heavy.sock``, forked from the first when it is first asked, also what jobs import. An
order is JSON with its length before it, and the descriptors that the new process inherits. The
answers are the process id and, when the process has ended, its wait status, both as lines.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.warm import popen
from treadle.kernel.stage import loaded
from treadle.platform.stages import stages

LIGHT = (
    "alembic.command",
    "hpack",
    "httpx",
    "jinja2",
    "msgspec",
    "numpy",
    "psutil",
    "rich.console",
    "rich.markdown",
    "rich.table",
    "sqlalchemy",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
    "starlette.applications",
    "typer._adapters",
    "typer.main",
    "uvicorn.main",
    "uvloop",
    "treadle.backends.blobs.disk",
    "treadle.backends.database.sqlite",
    "treadle.backends.executor.forkserver",
    "treadle.backends.sandbox.processes",
    "treadle.backends.target.local",
    "treadle.http.app",
    "treadle.platform.supervisor",
    "treadle.platform.wiring",
    "treadle.serving.server",
    "treadle.ui.pages",
)
"""What processes of Treadle import first. Nothing in it looks at the environment when imported.

The modules of ``treadle.cli`` do: their consoles are as wide as ``COLUMNS`` says.
"""
HEAVY = (
    "duckdb",
    "onnxruntime",
    "pandas",
    "skl2onnx",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.pipeline",
)
"""What the process that forks jobs imports besides."""
LOOK_SECONDS = 1.0
FIRST_DESCRIPTOR_ASIDE, LAST_DESCRIPTOR = 1000, 4096
MESSAGE_BYTES, MOST_DESCRIPTORS = 1 << 20, 64

Order = dict[str, Any]


class Server:
    """Forks for orders, and reports how the forks end.

    Args:
        listener: Where orders come in.
        starter: The process id of who started it, with whom it ends.
        heavy: Where orders for the other server come in, if this one is to start it.
    """

    def __init__(
        self, listener: socket.socket, starter: int, heavy: socket.socket | None = None
    ) -> None:
        self._listener = listener
        self._heavy = heavy
        self._starter = starter
        self._callers: dict[int, socket.socket] = {}  # by the process id of their fork
        self._ends, wakes = socket.socketpair()
        self._wakes = wakes
        for end in (self._ends, wakes):
            end.setblocking(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)

    def next_order(self) -> Order:
        """Serve for as long as the starter lives. Return in each fork, with its order."""
        while os.getppid() == self._starter:
            for one in self._readable():
                if one is self._ends:
                    with suppress(BlockingIOError):
                        self._ends.recv(4096)
                elif one is self._heavy and self._is_heavy():
                    return Server(self._listener, self._starter).next_order()
                elif one is self._listener and (order := self._accepted()):
                    return order
            self._report()
        os._exit(0)

    def _readable(self) -> list[Any]:
        with selectors.DefaultSelector() as look:
            for one in filter(None, (self._listener, self._heavy, self._ends)):
                look.register(one, selectors.EVENT_READ)
            return [key.fileobj for key, _ in look.select(LOOK_SECONDS)]

    def _is_heavy(self) -> bool:
        """Fork the heavy server. True in the fork, which has loaded its libraries."""
        heavy, self._heavy = self._heavy, None
        assert heavy
        ours = os.getpid()
        if os.fork():
            heavy.close()
            return False
        self._forget()
        self._starter = ours
        for name in HEAVY:
            importlib.import_module(name)
        gc.freeze()
        self._listener = heavy
        return True

    def _accepted(self) -> Order | None:
        """Fork for one caller. None in the server."""
        caller, _ = self._listener.accept()
        order = _received(caller)
        pid = os.fork() if order else 0
        if order and not pid:
            caller.close()
            self._forget()
            return order
        for number in order["descriptors"] if order else ():
            os.close(number)
        if pid:
            self._callers[pid] = caller
            _tell(caller, pid)
        return None

    def _forget(self) -> None:
        """Close what only the server needs."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ours = (self._listener, self._heavy, self._ends, self._wakes, *self._callers.values())
        for one in filter(None, ours):
            one.close()

    def _report(self) -> None:
        """Tell the callers of forks that have ended how they ended."""
        for pid in list(self._callers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with self._callers.pop(pid) as caller:
                    _tell(caller, status)


def _received(caller: socket.socket) -> Order | None:
    """An order that has come whole, with its ``descriptors``."""
    message, descriptors, _, _ = socket.recv_fds(caller, MESSAGE_BYTES, MOST_DESCRIPTORS)
    length, _, text = message.partition(b"\n")
    while length and len(text) < int(length):
        text += caller.recv(MESSAGE_BYTES) or b"\0" * int(length)
    if not length or b"\0" in text:
        return None
    return {**json.loads(text), "descriptors": descriptors}


def _tell(caller: socket.socket, number: int) -> None:
    with suppress(OSError):  # it may have gone
        caller.sendall(b"%d\n" % number)


def become(order: Order) -> None:
    """Take the place that an order describes: session, files, folder, environment, arguments."""
    if order["session"]:
        os.setsid()
    else:
        with suppress(OSError):  # the caller's group may have ended
            os.setpgid(0, order["group"])
    _take_descriptors(order["descriptors"], order["places"])
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    sys.path[:] = [*order["path"], *added(order["environment"]), *order["own_path"]]
    sys.argv = [order["module"], *order["arguments"]]
    sys.modules["numpy"].random.seed()


def _take_descriptors(descriptors: Sequence[int], places: Sequence[int]) -> None:
    """Give each descriptor the number that it is expected at, and close all others."""
    aside = [fcntl.fcntl(one, fcntl.F_DUPFD, FIRST_DESCRIPTOR_ASIDE) for one in descriptors]
    for one, place in zip(aside, places, strict=True):
        os.dup2(one, place, inheritable=True)
    kept = sorted({*places})
    for low, high in zip(kept, [*kept[1:], LAST_DESCRIPTOR], strict=True):
        os.closerange(low + 1, high)


def added(environment: Mapping[str, str]) -> list[str]:
    """What ``PYTHONPATH`` adds to where modules are looked for."""
    return [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]


def run(module: str) -> int:
    """Run a module as ``python -m`` does; its exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> NoReturn:
    """End this fork as Python ends, but without the libraries: their threads are not here."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    os._exit(code)


def listening(address: Path) -> socket.socket:
    """A socket for orders."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(address))
    made.listen(128)
    return made


def main(folder: Path, starter: int) -> NoReturn:
    """Serve, and run what is ordered in each fork."""
    for name in LIGHT:
        importlib.import_module(name)
    for stage in stages():
        for path in (*stage.parts, *(service.here or service.kind for service in stage.services)):
            loaded(path)
    gc.freeze()
    heavy = listening(folder / "heavy.sock")
    own_path = [one for one in sys.path if one not in added(os.environ)]
    order = Server(listening(folder / "light.sock"), starter, heavy).next_order()
    become({**order, "own_path": own_path})
    popen.serve_from(folder)
    end(run(order["module"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
