"""A ``subprocess.Popen`` that has processes of Treadle forked by the servers of this folder."""

import atexit
import inspect
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HEAVY = {"treadle.backends.executor.zygote"}
MODULES = HEAVY | {
    "treadle",
    "treadle.cli.server",
    "treadle.platform.model_server",
    "treadle.platform.worker",
}
"""What starts warm. A job's process does not: it looks at who its parent is."""
START_SECONDS = 60.0
_COLD = subprocess.Popen
_SIGNIFICANT = ("PYTHON", "LC_", "LANG", "OMP_", "OPENBLAS_", "LD_")
"""Variables that Python itself or a library reads while it starts."""

cold = False
"""Whether all processes start from nothing; so in the tests that are about just that."""


class Servers:
    """Where orders go; the first starts the servers, unless others have."""

    def __init__(self) -> None:
        self.folder: Path | None = None

    def start(self) -> Path:
        """Start the servers, for as long as this process lives."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="treadle-warm-"))
            path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
            server = _COLD(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "tests.warm.server",
                    str(self.folder),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
            )
            atexit.register(server.wait)
            atexit.register(server.terminate)
        return self.folder

    def caller(self, name: str) -> socket.socket:
        """A connection to a server, which may be starting still."""
        address, until = str(self.start() / f"{name}.sock"), time.monotonic() + START_SECONDS
        while True:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(address)
                return made
            except OSError:
                made.close()
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)


servers = Servers()


def serve_from(folder: Path) -> None:
    """Let the processes that this one starts be forked by the servers of a folder."""
    servers.folder = folder
    install()


def install() -> None:
    """Let ``subprocess`` start processes of Treadle warm."""
    subprocess.Popen = Popen  # type: ignore[misc]


def is_warm(command: Any, environment: Mapping[str, str], rest: Mapping[str, Any]) -> bool:
    """Whether a command can be forked instead of started."""
    if cold or not isinstance(command, list) or command[:1] != [sys.executable]:
        return False
    module = command[2:4] if command[1:2] == ["-P"] else command[1:3]
    plain = not (rest["preexec_fn"] or rest["shell"] or rest["executable"])
    return (
        plain
        and module[:1] == ["-m"]
        and module[1] in MODULES
        and _significant(environment) == _at_first
        and Path(rest["cwd"] or ".").is_dir()
    )


def _significant(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a process cannot be given afterwards."""
    usual = {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}
    folders = environment.get("PYTHONPATH", "").split(os.pathsep)
    is_customised = any(Path(one, "sitecustomize.py").exists() for one in folders if one)
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_SIGNIFICANT)
        and (name != "PYTHONPATH" or is_customised)
        and usual.get(name) != value
    }


_at_first = _significant(os.environ)  # as the servers have them


class Popen(_COLD[Any]):
    """As ``subprocess.Popen``; a process of Treadle is forked by a server."""

    _caller: socket.socket | None = None

    def _execute_child(self, *values: Any, **named: Any) -> None:
        parameters = inspect.signature(_COLD._execute_child)  # type: ignore[attr-defined]
        asked = parameters.bind(self, *values, **named).arguments
        environment = os.environ if asked["env"] is None else asked["env"]
        if is_warm(asked["args"], environment, asked):
            self._order(asked, dict(environment))
        else:
            super()._execute_child(*values, **named)  # type: ignore[misc]

    def _order(self, asked: dict[str, Any], environment: dict[str, str]) -> None:
        command, folder = asked["args"], str(Path(asked["cwd"] or ".").absolute())
        sys.audit("subprocess.Popen", command[0], command, folder, environment)
        safe_path = command[1] == "-P"
        module, *arguments = command[3 if safe_path else 2 :]
        inherited = [int(number) for number in asked["pass_fds"]]
        given = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
        streams = [place if one == -1 else one for place, one in enumerate(given)]
        order = {
            "module": module,
            "arguments": arguments,
            "folder": folder,
            "environment": environment,
            "path": [] if safe_path else [folder],
            "session": asked["start_new_session"],
            "group": os.getpgid(0),
            "places": [0, 1, 2, *inherited],
        }
        self._caller = servers.caller("heavy" if module in HEAVY else "light")
        self.pid = send(self._caller, order, [*streams, *inherited])
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in pipes))  # type: ignore[attr-defined]

    def _internal_poll(self, *values: Any, **named: Any) -> int | None:
        if self._caller is None:
            return super()._internal_poll(*values, **named)  # type: ignore[misc, no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None and self._try_wait(os.WNOHANG)[0]:
                    self._handle_exitstatus(self._status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._caller is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        if wait_flags & os.WNOHANG and not _is_readable(self._caller):
            return 0, 0
        self._status = _number(self._caller, default=signal.SIGKILL)
        return self.pid, self._status


def send(caller: socket.socket, order: dict[str, Any], descriptors: list[int]) -> int:
    """Send an order; the process id of who is forked for it."""
    text = json.dumps(order).encode()
    message = b"%d\n" % len(text) + text
    sent = socket.send_fds(caller, [message], descriptors)
    caller.sendall(message[sent:])
    pid = _number(caller, default=0)
    assert pid, "The server of warm processes has died."
    return pid


def _number(caller: socket.socket, *, default: int) -> int:
    """The next line of a server's answer; a default where the server has died."""
    line = b""
    with suppress(ConnectionError):
        while not line.endswith(b"\n"):
            more = caller.recv(1)
            if not more:
                return default
            line += more
    return int(line or default)


def _is_readable(caller: socket.socket) -> bool:
    with selectors.DefaultSelector() as look:
        look.register(caller, selectors.EVENT_READ)
        return bool(look.select(0))
