"""Keeps a home's processes running: the server, the worker, and the model servers of its target.

Each process holds a lock file, so that a supervisor that takes over adopts what runs instead of doubling it; and the
worker starts a new supervisor when the old one is gone.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from treadle.kernel import process
from treadle.kernel.errors import Conflict
from treadle.kernel.process import SupervisedProcess
from treadle.platform.settings import Settings, backend

LOOK_SECONDS, REVIVE_SECONDS = 0.05, 5.0
_revived = [-REVIVE_SECONDS]  # when this process last started a supervisor
LOCK = "supervisor.lock"


class Address:
    """Where the server listens."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"


class Supervisor:
    """Holds the home for as long as it lives."""

    def __init__(self, settings: Settings, address: Address) -> None:
        self._settings, self._run = settings, settings.folder / "run"
        process.hold(self._run / LOCK, what=f"The home '{settings.home}'")
        self._address = address
        environment = {
            **settings.environment(),
            "TREADLE_SUPERVISED": f"{address.host} {address.port}",
        }
        self._environment: Callable[[], dict[str, str]] = lambda: environment
        blobs = backend("blobs", settings.blobs or f"file://{settings.folder / 'blobs'}")
        clock = {key: value for key, value in environment.items() if key == "TREADLE_CLOCK"}
        self._target = backend(
            "target", settings.target or "local:", blobs, settings.folder / "endpoints", clock
        )
        self._kept = [
            self._keep("server", ["treadle.cli.server", address.host, str(address.port)]),
            self._keep("worker", ["treadle.platform.worker"]),
        ]
        self._stopping: list[int] = []

    def check_port(self) -> None:
        """Raise Conflict when somebody else listens where the server should."""
        if process.holder(self._run / "server.lock") is not None:
            return  # our own server, left by a supervisor that died
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._address.host, self._address.port))
            except OSError as error:
                raise Conflict(
                    f"Cannot listen on {self._address.url}: {error.strerror}. Choose another --port."
                ) from error

    def run(self, ready: Callable[[], None]) -> None:
        """Keep everything running until SIGTERM or Ctrl-C, then stop it in order. ``ready`` is called once it answers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        told = False
        while (
            not self._stopping and (self._run / LOCK).exists()
        ):  # a home that was removed needs nobody
            for kept in self._kept:
                kept.tend()
            self._target.tend()
            if not told and self._answers():
                told = True
                ready()
            time.sleep(LOOK_SECONDS)
        for kept in self._kept:
            kept.stop()
        self._target.close()

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
    """The process id of a home's supervisor, if one runs."""
    return process.holder(home / "run" / LOCK)


def revive(settings: Settings) -> None:
    """Start a supervisor again when the one that started this process was killed."""
    address = os.environ.get("TREADLE_SUPERVISED")
    if (
        address is None
        or not (settings.folder / "run" / LOCK).exists()
        or time.monotonic() - _revived[0] < REVIVE_SECONDS
        or running(settings.folder) is not None
    ):
        return
    _revived[0] = time.monotonic()
    host, port = address.split()
    log = settings.folder / "logs" / "supervisor.log"
    with log.open("ab") as output:
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "treadle",
                "up",
                "--home",
                settings.home,
                "--host",
                host,
                "--port",
                port,
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
