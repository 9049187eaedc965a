"""Keeps a home's processes running: the server, the worker, and the model servers of its target.

Each process holds a lock file, so that a supervisor that takes over adopts what runs instead of
doubling it; and the worker starts a new supervisor when the old one is gone.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import select

from treadle.kernel import process
from treadle.kernel.errors import Conflict, TreadleError
from treadle.kernel.process import SupervisedProcess
from treadle.platform import logs
from treadle.platform.addresses import backend
from treadle.platform.occupancy import is_closing
from treadle.platform.seal import write_seal
from treadle.platform.settings import Settings, remembered_settings
from treadle.platform.signing import signing_keys
from treadle.ports.blobs import Blobs

LOOK_SECONDS, REVIVE_SECONDS = 0.05, 5.0
LOCK = "supervisor.lock"
LOG = Path("logs", "supervisor.log")
_revived = [-REVIVE_SECONDS]  # when this process last started a supervisor
log = logging.getLogger("treadle.supervisor")


class Address:
    """Where the server listens.

    Args:
        host: The name or address of this machine.
        port: The TCP port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @property
    def url(self) -> str:
        """The server's URL, as in ``http://127.0.0.1:5000``."""
        return f"http://{self.host}:{self.port}"


class _Replaceable:
    """The home's blob store, in whose place a move puts another one.

    Args:
        store: The store.
    """

    def __init__(self, store: Blobs) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Supervisor:
    """Holds the home for as long as it lives.

    Args:
        settings: The home's settings.
        address: Where the server listens.

    Raises:
        Conflict: Another supervisor holds the home.
    """

    def __init__(self, settings: Settings, address: Address) -> None:
        self._settings, self._run = settings, settings.folder / "run"
        process.hold(self._run / LOCK, what=f"The home '{settings.home}'")
        self._address = address
        self._blobs = _Replaceable(backend("blobs", settings.address("blobs")))
        environment = settings.environment()
        clock = {key: value for key, value in environment.items() if key == "TREADLE_CLOCK"}
        self._target = backend(
            "target",
            settings.address("target"),
            self._blobs,
            settings.folder / "endpoints",
            clock,
        )
        self._kept = [
            self._keep("server", ["treadle.cli.server", address.host, str(address.port)]),
            self._keep("worker", ["treadle.platform.worker"]),
        ]
        self._stopping: list[int] = []

    def check_port(self) -> None:
        """Check that the server can listen on its port.

        Raises:
            Conflict: Another program listens there.
        """
        if process.holder(self._run / "server.lock") is not None:
            return  # our own server, left by a supervisor that died
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._address.host, self._address.port))
            except OSError as error:
                raise Conflict(
                    f"Cannot listen on {self._address.url}: {error.strerror}. "
                    "Choose another --port."
                ) from error

    def run(self, ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or Ctrl-C, then stop it in order.

        Args:
            ready: Called once, when the server answers.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with logs.lifetime("supervisor", self._settings.home):
            self._tend(ready)
            for kept in self._kept:
                kept.stop()
            self._target.close()
            self._seal()

    def _tend(self, ready: Callable[[], None]) -> None:
        """Start what is not there, again and again, until told to stop."""
        answered, told = False, ""
        while not self._stopping and (self._run / LOCK).exists():  # a removed home needs nobody
            try:
                self._look_after()
                told = ""
            except OSError as error:  # no file handles, no memory: the next look tries again
                if str(error) != told:
                    log.error("processes cannot be looked after now: %s", error)
                told = str(error)
                time.sleep(1)
            if not answered and self._answers():
                answered = True
                ready()
            time.sleep(LOOK_SECONDS)

    def _look_after(self) -> None:
        if is_closing(self._settings.folder):
            self._wait_for_move()
        for kept in self._kept:
            if kept.tend():
                level = logging.INFO if kept.starts == 1 else logging.WARNING
                log.log(level, "%s started: pid %s, start %d", kept.name, kept.pid, kept.starts)
        self._target.tend()

    def _wait_for_move(self) -> None:
        """Let server and worker rest while the home is moved; model servers go on."""
        log.info("the home is being moved; server and worker wait")
        leaving = list(self._kept)
        for kept in leaving:
            kept.leave()
        while is_closing(self._settings.folder) and not self._stopping:
            leaving = [kept for kept in leaving if not kept.left()]
            self._target.tend()
            time.sleep(LOOK_SECONDS)
        self._settings = remembered_settings(self._settings.folder)
        try:
            self._blobs.store = backend("blobs", self._settings.address("blobs"))
        except TreadleError as error:
            log.error("the home was moved, and its contents cannot be reached: %s", error.message)
        log.info("server and worker go on")

    def _environment(self) -> dict[str, str]:
        address = f"{self._address.host} {self._address.port}"
        return {**self._settings.environment(), "TREADLE_SUPERVISED": address}

    def _seal(self) -> None:
        """Seal the home, now that nothing writes to it any more."""
        if not (self._run / LOCK).exists():
            return
        home = self._settings.folder
        try:
            database = backend("database", self._settings.address("database"))
            with database.read() as connection:
                connection.execute(select(1))
            database.close()  # the last to close it moves all changes into its file
            write_seal(home, signing_keys(home))
        except (TreadleError, OSError) as error:
            log.error("the home could not be sealed: %s", error)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._stopping.append(number)

    def _answers(self) -> bool:
        try:
            socket.create_connection((self._address.host, self._address.port), timeout=0.2).close()
        except OSError:
            return False
        return True

    def _keep(self, name: str, arguments: list[str]) -> SupervisedProcess:
        return SupervisedProcess(
            name,
            [sys.executable, "-m", *arguments],
            lock=self._run / f"{name}.lock",
            log=self._settings.folder / "logs" / f"{name}.log",
            environment=self._environment,
        )


def running(home: Path) -> int | None:
    """Return the process id of a home's supervisor, or None while none runs.

    Args:
        home: The home's folder.
    """
    return process.holder(home / "run" / LOCK)


def revive(settings: Settings) -> None:
    """Start a supervisor again when the one that started this process was killed.

    Args:
        settings: The home's settings.
    """
    address = os.environ.get("TREADLE_SUPERVISED")
    if (
        address is None
        or not (settings.folder / "run" / LOCK).exists()
        or time.monotonic() - _revived[0] < REVIVE_SECONDS
        or running(settings.folder) is not None
    ):
        return
    _revived[0] = time.monotonic()
    log.warning("the supervisor is gone; another one is started")
    host, port = address.split()
    command = [sys.executable, "-m", "treadle", "up", "--home", settings.home]
    with (settings.folder / LOG).open("ab") as errors:
        subprocess.Popen(
            [*command, "--host", host, "--port", port],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
