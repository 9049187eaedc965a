"""Lock files, and processes that must run exactly once, whoever started them."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from treadle.kernel.errors import Conflict
from treadle.kernel.exits import REFUSED, REFUSED_NOW, note_exit

log = logging.getLogger(__name__)
_FIRST_WAIT, _LONGEST_WAIT, REFUSED_WAIT = 0.1, 10.0, 60.0
_TRIES = 10
_held: list[IO[str]] = []  # lock files stay open until the process ends


def hold(lock: Path, *, what: str) -> IO[str]:
    """Hold a lock file for the rest of this process, or until ``release``.

    Args:
        lock: Path of the lock file; it is made when absent.
        what: What the lock protects, as the subject of the error message.

    Returns:
        The open file; its content is the id of this process.

    Raises:
        Conflict: Another process holds the lock; the error names it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = lock.open("a+")
    for tries_left in range(_TRIES, -1, -1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if not tries_left:
                file.close()
                pid = holder(lock)
                raise Conflict(
                    f"{what} is in use by another process (pid {pid}). Stop that one first."
                ) from error
            time.sleep(0.01)  # another process may only have checked who holds it
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _held.append(file)
    return file


def release(held: IO[str]) -> None:
    """Release a lock. In a forked child, the parent goes on holding it.

    Args:
        held: What ``hold`` returned.
    """
    _held.remove(held)
    held.close()


def is_held(lock: Path) -> bool:
    """Whether a living process holds a lock file.

    Args:
        lock: Path of the lock file.
    """
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
    """The id of the process that holds a lock file, or None.

    Args:
        lock: Path of the lock file.
    """
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
    """A process that should be running. Call ``tend`` often; it starts an absent process.

    A process that somebody else has started (such as a supervisor that died) is adopted and not
    started twice. One that ends again and again is started with growing waits, from 0.1 to 10
    seconds. Each end that nobody has asked for is logged and counted (``kernel/exits.py``).

    A process that was refused has not died: it is told of once and not counted, and where it is
    refused as it is set up, it is started again when its environment changes, or in a minute.

    Args:
        name: Name of the process.
        arguments: Its command line.
        lock: Lock file that the process holds while it lives.
        log: File to which its output is appended.
        environment: Makes its further environment variables at each start.
        passed: Descriptors of open files that it inherits.

    Attributes:
        starts: How often it was started from here.
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
        self.name = name
        self._arguments = arguments
        self._lock = lock
        self._log = log
        self._environment = environment
        self._passed = passed
        self._child: subprocess.Popen[bytes] | None = None
        self._given: dict[str, str] = {}  # the environment of the newest start
        self._is_refused = self._refusal_is_told = False
        self._seen: int | None = None  # the process that ran when it was last looked at
        # Moments are seconds of the monotonic clock.
        self._wait = _FIRST_WAIT
        self._not_before = 0.0
        self._started = 0.0
        self._leaving = 0.0
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Id of the process, or None while it is not running."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        return holder(self._lock)

    def tend(self) -> bool:
        """Start the process if it is not running and its wait is over.

        Returns:
            Whether it was started.
        """
        if (pid := self.pid) is not None:
            self._seen = pid
            if time.monotonic() - self._started > _LONGEST_WAIT:
                self._wait, self._refusal_is_told = _FIRST_WAIT, False
            return False
        self._note_exit()
        if self._child is not None:
            self._child = None
            self._not_before = time.monotonic() + self._wait
            self._wait = min(self._wait * 2, _LONGEST_WAIT)
        if time.monotonic() < self._not_before:
            return False
        is_lately_refused = self._is_refused and time.monotonic() - self._started < REFUSED_WAIT
        if is_lately_refused and self._environment() == self._given:
            return False
        self._start()
        return True

    def stop(self, grace_seconds: float = 10.0) -> None:
        """End the process and wait until it has ended.

        Args:
            grace_seconds: Seconds after SIGTERM before it is killed.
        """
        pid, self._seen = self.pid, None
        if pid is None:
            return
        deadline = time.monotonic() + grace_seconds
        self._signal(pid, signal.SIGTERM)
        while self.pid == pid and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.pid == pid:
            self._signal(pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
            self._child = None

    def leave(self, grace_seconds: float = 10.0) -> None:
        """Ask the process to end without waiting; ``left`` says whether it has.

        Args:
            grace_seconds: Seconds after which ``left`` kills it.
        """
        self._leaving, self._seen = time.monotonic() + grace_seconds, None
        if (pid := self.pid) is not None:
            self._signal(pid, signal.SIGTERM)

    def left(self) -> bool:
        """Whether the process has ended after ``leave``. Once its grace is over, it is killed."""
        pid = self.pid
        if pid is not None and time.monotonic() > self._leaving:
            self._signal(pid, signal.SIGKILL)
        return pid is None

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._given, self._is_refused = self._environment(), False
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._given,
                start_new_session=True,
                pass_fds=self._passed,
            )
        self._started = time.monotonic()
        self._seen = self._child.pid
        self.starts += 1

    def _note_exit(self) -> None:
        """Log that the process which ran has ended unasked, and record it unless it was refused."""
        pid, self._seen = self._seen, None
        if pid is None:
            return
        ours = self._child is not None and self._child.pid == pid
        code = self._child.returncode if self._child is not None and ours else None
        if code in (REFUSED, REFUSED_NOW):
            self._is_refused = code == REFUSED
            if not self._refusal_is_told:
                self._refusal_is_told = True
                until = "what it says is mended" if self._is_refused else "it may"
                log.warning(
                    "%s was refused and waits until %s. Its log: %s", self.name, until, self._log
                )
            return
        try:
            exits = note_exit(self._lock, pid, code)
        except OSError as error:  # a full disk keeps no process from being started again
            log.warning("%s (pid %d) has ended, which cannot be noted: %s", self.name, pid, error)
            return
        log.warning(
            "%s (pid %d) %s; %d in a row, %d in all. Its log: %s",
            *(self.name, pid, exits.cause, exits.in_a_row, exits.total, self._log),
        )

    @staticmethod
    def _signal(pid: int, signal_number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal_number)
