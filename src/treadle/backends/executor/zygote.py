"""Forks jobs: loads the heavy libraries once, then forks for every line it reads.

Its arguments name modules that jobs will need too. A line is ``{"name", "folder", "arguments",
"confine"}``; the answer is the fork's process id. The environment is in the file
``NAME.environment`` of the folder. ``confine`` says how a runner of confined code is begun for the
job, if any. Exit codes become files. The process ends with its input, which its forks see by their
parent's id.
"""

import importlib
import importlib.util
import json
import os
import runpy
import selectors
import sys
from pathlib import Path
from typing import Any

from treadle.backends.sandbox import runner
from treadle.backends.sandbox.processes import RUNNER
from treadle.backends.sandbox.runner import Sockets
from treadle.kernel.files import write_whole

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
REAP_SECONDS = 0.02


def main() -> None:
    """Read orders from the standard input, and fork for each of them, until the input ends."""
    for module in (*PRELOADED, *sys.argv[1:]):
        if importlib.util.find_spec(module.partition(".")[0]) is not None:
            importlib.import_module(module)
    orders = selectors.DefaultSelector()
    orders.register(sys.stdin, selectors.EVENT_READ)
    forks: dict[int, Path] = {}
    next_runner: dict[str, Sockets] = {}  # one waits for the next job, so that none waits for it
    while True:
        if orders.select(REAP_SECONDS if forks else None):
            line = sys.stdin.readline()
            if not line:
                return
            order = json.loads(line)
            strength = order["confine"]
            sockets = next_runner.pop(strength, None)
            if strength and not sockets:
                sockets = runner.forked(strength)
            pid = _fork(order, sockets)
            forks[pid] = Path(order["folder"], f"{order['name']}.exit")
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            if sockets:
                sockets.close()
                next_runner[strength] = runner.forked(strength)
        _reap(forks)


def _reap(forks: dict[int, Path]) -> None:
    for pid in list(forks):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            write_whole(forks.pop(pid), str(code).encode())


def _fork(order: dict[str, Any], sockets: Sockets | None) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
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
