"""Processes that must be there exactly once, whoever started them: each holds a lock file for as long as it lives."""

import errno
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from treadle.kernel.errors import Conflict

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
_TRIES = 10
_held: list[IO[str]] = []  # lock files stay open until the process ends


def hold(lock: Path, *, what: str) -> IO[str]:
    """Hold a lock file for the rest of this process, or until it is released. Raises Conflict, naming the holder, when it is held."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = lock.open("a+")
    for patience in range(_TRIES, -1, -1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if not patience:
                file.close()
                pid = holder(lock)
                raise Conflict(
                    f"{what} is in use by another process (pid {pid}). Stop that one first."
                ) from error
            time.sleep(0.01)  # somebody may only have looked who holds it
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _held.append(file)
    return file


def release(held: IO[str]) -> None:
    """Let go of what ``hold`` gave. In a forked child the parent goes on holding it."""
    _held.remove(held)
    held.close()


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock file."""
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return True
    return False


def holder(lock: Path) -> int | None:
    """The process that holds a lock file now, or None."""
    try:
        with lock.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return int(file.read() or 0) or None
    except FileNotFoundError:
        return None
    return None


class SupervisedProcess:
    """A process that should be running. ``tend`` often; it starts the process when nobody holds the lock.

    A process that was started by somebody else (such as a supervisor that died) is adopted, not doubled. One that dies
    again and again is started with growing waits.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        *,
        lock: Path,
        log: Path,
        environment: Callable[[], dict[str, str]],
        passed: Sequence[int] = (),
    ) -> None:
        self._passed = passed  # open files that it inherits
        self._leaving = 0.0
        self.name, self._arguments, self._lock, self._log, self._environment = (
            name,
            arguments,
            lock,
            log,
            environment,
        )
        self._child: subprocess.Popen[bytes] | None = None
        self._wait, self._not_before, self._started = _FIRST_WAIT, 0.0, 0.0
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Its process id, or None while it is not there."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        return holder(self._lock)

    def tend(self) -> bool:
        """Start it if it is not there and its wait is over. Returns whether it was started."""
        if self.pid is not None:
            if time.monotonic() - self._started > _LONGEST_WAIT:
                self._wait = _FIRST_WAIT
            return False
        if self._child is not None:
            self._child = None
            self._not_before = time.monotonic() + self._wait
            self._wait = min(self._wait * 2, _LONGEST_WAIT)
        if time.monotonic() < self._not_before:
            return False
        self._start()
        return True

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End it: politely, then by force once the grace is over."""
        pid = self.pid
        if pid is None:
            return
        until = time.monotonic() + grace_seconds
        self._signal(pid, signal.SIGTERM)
        while self.pid == pid and time.monotonic() < until:
            time.sleep(0.01)
        if self.pid == pid:
            self._signal(pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
            self._child = None

    def leave(self, grace_seconds: float = 10.0) -> None:
        """Ask it to end. ``left`` then says whether it has."""
        self._leaving = time.monotonic() + grace_seconds
        if (pid := self.pid) is not None:
            self._signal(pid, signal.SIGTERM)

    def left(self) -> bool:
        """Whether it has ended; once its grace is over, by force."""
        pid = self.pid
        if pid is not None and time.monotonic() > self._leaving:
            self._signal(pid, signal.SIGKILL)
        return pid is None

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment(),
                start_new_session=True,
                pass_fds=self._passed,
            )
        self._started = time.monotonic()
        self.starts += 1

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
