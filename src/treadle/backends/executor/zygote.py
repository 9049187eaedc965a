"""Forks jobs: loads the heavy libraries once, then forks for every line it reads.

Its arguments name modules that jobs will need too. A line is ``{"name", "folder", "arguments",
"confine"}``; the answer is the fork's process id. The environment is in the file
``NAME.environment`` of the folder. ``confine`` says how a runner of confined code is begun for the
job, if any. Exit codes become files. The process ends with its input, which its forks see by their
parent's id.
"""

import gc
import importlib
import importlib.util
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from treadle.backends.sandbox import runner
from treadle.backends.sandbox.processes import RUNNER
from treadle.backends.sandbox.runner import Sockets
from treadle.kernel.files import write_whole
from treadle.ports.sandbox import Strength

PRELOADED = (
    "treadle.platform.wiring",
    "duckdb",
    "pandas",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.pipeline",
    "skl2onnx",
    "onnxruntime",
)
QUIET_SECONDS = 1.0
"""After this time without an order a job is as likely to come as to end."""


def main() -> None:
    """Read orders from the standard input, and fork for each of them, until the input ends."""
    for module in (*PRELOADED, *sys.argv[1:]):
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a fork would else touch, and so copy, all that is loaded here
    ends = _told_of_ends()
    waiting = selectors.DefaultSelector()
    for readable in (sys.stdin, ends):
        waiting.register(readable, selectors.EVENT_READ)
    exit_files: dict[int, Path] = {}
    runners = _Runners()
    while True:
        ready = [key.fileobj for key, _ in waiting.select(QUIET_SECONDS if runners.used else None)]
        if ends in ready:
            ends.recv(1024)
            _reap(exit_files)
        if sys.stdin not in ready:
            runners.replace_used()
            continue
        line = sys.stdin.readline()
        if not line:
            gc.unfreeze()  # what is not looked at in the end is reported as leaked by libraries
            return
        order = json.loads(line)
        with runners.one(order["confine"]) as sockets:
            pid = _fork(order, sockets)
        exit_files[pid] = Path(order["folder"], f"{order['name']}.exit")
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _told_of_ends() -> socket.socket:
    """A socket that can be read when a child of this process has ended."""
    told, tell = socket.socketpair()
    tell.setblocking(False)
    signal.set_wakeup_fd(tell.detach(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return told


def _reap(exit_files: dict[int, Path]) -> None:
    """Write down how jobs have ended; guards of runners end without a word."""
    with suppress(ChildProcessError):
        while ended := os.waitpid(-1, os.WNOHANG):
            pid, status = ended
            if pid == 0:
                return
            if file := exit_files.pop(pid, None):
                write_whole(file, str(os.waitstatus_to_exitcode(status)).encode())


class _Runners:
    """Processes that wait for the code of a job: one of each strength that was asked for.

    A used one is replaced while nothing else is to do, so that no job waits for that.
    """

    def __init__(self) -> None:
        self._waiting: dict[Strength, Sockets] = {}
        self.used: set[Strength] = set()

    @contextmanager
    def one(self, strength: Strength | Literal[""]) -> Iterator[Sockets | None]:
        """A runner for one job, which the job's process takes over; None for no strength."""
        if not strength:
            yield None
            return
        sockets = self._waiting.pop(strength, None) or runner.forked(strength)
        self.used.add(strength)
        yield sockets
        sockets.close()

    def replace_used(self) -> None:
        """Begin a runner in the place of each that was used."""
        for strength in self.used:
            self._waiting[strength] = runner.forked(strength)
        self.used.clear()


def _fork(order: dict[str, Any], sockets: Sockets | None) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        runner.forget_ends()
        os.setsid()
        _redirect(Path(order["folder"], f"{order['name']}.log"))
        begun = {"TREADLE_PARENT": str(parent)}
        if sockets:
            begun[RUNNER] = " ".join(str(one.detach()) for one in sockets)
        file = Path(order["folder"], f"{order['name']}.environment")
        environment = json.loads(file.read_bytes())
        file.unlink()
        os.environ.clear()
        os.environ.update(environment, **begun)
        sys.argv = order["arguments"]
        runpy.run_module(order["arguments"][0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


if __name__ == "__main__":
    main()
