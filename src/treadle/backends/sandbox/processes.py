"""Runs functions in confined processes of this machine."""

import importlib
import os
import select
import signal
import socket
import sys
import tempfile
from contextlib import chdir, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from treadle.backends.sandbox import confinement, linux
from treadle.backends.sandbox.environment import ordinary
from treadle.backends.sandbox.messages import Answer, Ended, Order, receive, send
from treadle.backends.sandbox.runner import GUARD, STREAMS, TASKS, Sockets, pair
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, Unavailable, error_named
from treadle.ports.sandbox import KNOWN_STRENGTH, STRENGTHS, Allowance, Strength, Task

E = TypeVar("E", bound=Entity)
RUNNER = "TREADLE_RUNNER"
"""Names the descriptors of the sockets to a runner which was begun for this process."""
_LOOK_SECONDS = 0.25


class Processes:
    """Confined processes: by namespaces where this user may make them, else by Landlock.

    Args:
        url: ``auto:`` for the strongest that this machine has; ``namespaces:`` or ``landlock:`` for
            no less than that; ``off:`` to call functions in this process.
        home: The home's folder, of which the functions see nothing but what they are given.
    """

    def __init__(self, url: str, home: Path) -> None:
        self._least = url.partition(":")[0]
        self._home = home

    @cached_property
    def strength(self) -> Strength:
        """How code is confined here; found out by trying, once in a process.

        Raises:
            Unavailable: This machine cannot confine code as strongly as was declared.
        """
        if self._least == "off":
            return "off"
        told = os.environ.get(KNOWN_STRENGTH)
        tried = [kind for kind in STRENGTHS if kind == told] or [k for k in STRENGTHS if _works(k)]
        found = tried[0]
        if self._least in STRENGTHS and STRENGTHS.index(found) > STRENGTHS.index(self._least):
            raise Unavailable(
                f"Steps must be confined by '{self._least}' here, and this machine offers "
                f"'{found}'. Allow user namespaces, or declare less: treadle up --sandbox {found}"
            )
        return found

    def call(self, task: Task) -> Any:
        """Call a function in a confined process, and wait for its result.

        Args:
            task: What to call, and what it may reach.

        Returns:
            What the function returned.

        Raises:
            TreadleError: What the function raised, or why the process ended without a result.
        """
        if self.strength == "off":
            with chdir(task.scratch):
                return _function(task.function)(task.argument)
        with _Runner.begun_with_this_process() or _Runner.begun_now(self.strength) as runner:
            return runner.do(task, self._home)


class _Runner:
    """A process that waits for one task, and the guard that ends it with this object.

    Args:
        sockets: What leads to both.
        pid: The guard's process id where this process is its parent.
    """

    def __init__(self, sockets: Sockets, pid: int | None = None) -> None:
        self._tasks, self._guard = sockets
        self._pid = pid
        self._ended: Ended | None = None

    @classmethod
    def begun_with_this_process(cls) -> "_Runner | None":
        """The runner that was begun for this process, the first time it is asked for."""
        told = os.environ.pop(RUNNER, "")
        if not told:
            return None
        return cls(Sockets(*(socket.socket(fileno=int(number)) for number in told.split())))

    @classmethod
    def begun_now(cls, strength: Strength) -> "_Runner":
        """A runner that begins as a program, in an environment without secrets."""
        ours, theirs = pair()
        program = [sys.executable, "-P", "-m", "treadle.backends.sandbox.runner", strength]
        places = zip(theirs, (TASKS, GUARD), strict=True)
        streams = [(os.POSIX_SPAWN_DUP2, one.fileno(), place) for one, place in places]
        pid = os.posix_spawn(sys.executable, program, ordinary(os.environ), file_actions=streams)
        theirs.close()
        return cls(ours, pid)

    def do(self, task: Task, hidden: Path) -> Any:
        """Have a task done.

        Args:
            task: The task.
            hidden: The folder that it must not see.

        Returns:
            What the function returned. Nothing is left of the task but its files.

        Raises:
            TreadleError: What it raised, or why there is no result.
        """
        scratch = Path(task.scratch)
        most = confinement.disk_allowance(task.allowance, scratch)
        temporary = scratch / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = ordinary(os.environ) | {"HOME": str(temporary), "TMPDIR": str(temporary)}
        with suppress(ConnectionError):  # it may have ended already, and has said why
            socket.send_fds(self._tasks, [b"."], STREAMS)
            send(self._tasks, Order(task=task, hidden=str(hidden), environment=environment))
        while not select.select([self._tasks, self._guard], [], [], _LOOK_SECONDS)[0]:
            if (used := bytes_of(scratch)) > most:
                raise Invalid(
                    f"Its files had {used:,} bytes together, more than the {most:,} that they may "
                    "have. Write less, or declare more: disk_gb in [pipeline]."
                )
        answer = _received(self._tasks, Answer)
        self._ended = _received(self._guard, Ended)
        if answer is None:
            raise Invalid(_ending(self._ended, task.allowance))
        if answer.refused:
            raise Unavailable(f"The code could not be confined: {answer.refused}.")
        if answer.error:
            error = error_named(answer.error[0])(answer.error[1])
            error.retry = answer.retry
            raise error
        return answer.result

    def __enter__(self) -> "_Runner":
        return self

    def __exit__(self, *_: object) -> None:
        """End the runner, and wait until nothing is left of it."""
        self._tasks.close()
        self._guard.shutdown(socket.SHUT_WR)
        if self._ended is None:
            _received(self._guard, Ended)
        self._guard.close()
        if self._pid is not None:
            os.waitpid(self._pid, 0)


def _received(connection: socket.socket, kind: type[E]) -> E | None:
    """The next message; None when the other side has ended."""
    with suppress(ConnectionError):
        return receive(connection, kind)
    return None


def _ending(ended: Ended | None, allowance: Allowance) -> str:
    """Why there is no result, in words."""
    if ended is None:
        how = "was ended from outside"
    elif ended.code == -signal.SIGKILL and allowance.cpu_seconds:
        # The kernel counts by its ticks, so that what it says later may be a little less.
        how = (
            f"was killed: it took {ended.cpu_seconds:,.1f} s of the {allowance.cpu_seconds:,} s of "
            "processor time that it may take (cpu_time in [pipeline]), or the machine has run out "
            "of memory,"
        )
    elif ended.code == -signal.SIGKILL:
        how = "was killed (the machine may have run out of memory)"
    else:
        how = (
            f"was ended by signal {-ended.code}" if ended.code < 0 else f"exited with {ended.code}"
        )
    return f"Its process {how} before it had a result. Its log says more."


def _works(strength: Strength) -> bool:
    """Whether code can be confined in a way on this machine, by doing it."""
    if strength == "off":
        return True
    if sys.platform != "linux" or (strength == "landlock" and not linux.landlock_version()):
        return False
    with tempfile.TemporaryDirectory() as scratch, _Runner.begun_now(strength) as runner:
        task = Task(function="builtins:bool", argument=1, readable=[], scratch=scratch)
        try:
            return bool(runner.do(task, Path(scratch, "home")))
        except (Unavailable, Invalid):
            return False


def bytes_of(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk.

    Args:
        folder: The folder; it may change meanwhile.
    """
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(root, name).lstat().st_blocks * 512
    return total


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)
