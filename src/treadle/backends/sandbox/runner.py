"""A process that waits for one task, confines itself and does it, and a guard that ends both.

The pair is begun before its user has read any secret: as forks of the process that forks jobs, or
as ``python -P -m treadle.backends.sandbox.runner``. The runner knows one socket, on which the task
comes and the answer goes. The guard keeps the other one: when its far end is closed, it ends the
runner, and it says when nothing of the task is left. So what the runner says of its own end counts
for nothing.
"""

import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast, get_args

from treadle.backends.sandbox import confinement, linux
from treadle.backends.sandbox.messages import Answer, Ended, Order, receive, send
from treadle.kernel.errors import TreadleError, kind_of
from treadle.ports.sandbox import Strength

TASKS, GUARD = 0, 3
"""Descriptors of the sockets of a runner that begins as a program."""
STREAMS = (1, 2)
"""Descriptors of the standard streams that a task takes over from whoever orders it."""
_MOST_DESCRIPTORS = 1 << 16


class Sockets(NamedTuple):
    """Two sockets to a runner: one to its process, one to the guard of that."""

    tasks: socket.socket
    guard: socket.socket

    def close(self) -> None:
        """Close both, which ends the runner."""
        self.tasks.close()
        self.guard.close()


def pair() -> tuple[Sockets, Sockets]:
    """Both ends of the two sockets: ours and theirs."""
    tasks, guard = socket.socketpair(), socket.socketpair()
    return Sockets(tasks[0], guard[0]), Sockets(tasks[1], guard[1])


def forget_ends() -> None:
    """In a fork: leave to the process that was forked how it hears of the end of its children."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def forked(strength: Strength) -> Sockets:
    """Begin a runner as forks of this process, which must have one thread.

    Args:
        strength: How its task will be confined.

    Returns:
        The sockets that lead to it. This process reaps its guard.
    """
    ours, theirs = pair()
    if os.fork():
        theirs.close()
        return ours
    forget_ends()
    ours.close()
    return _end_after(lambda: begin(theirs, strength))


def begin(sockets: Sockets, strength: Strength) -> int:
    """Start the process of the task, and guard it.

    Args:
        sockets: Where the task comes and how the runner is ended.
        strength: How the task is confined.

    Returns:
        The exit code of the guard.
    """
    os.setsid()
    linux.adopt_orphans()
    identity = None
    try:
        if strength == "namespaces":
            identity = confinement.separate_processes()
    except OSError as error:
        send(sockets.tasks, Answer(refused=str(error)))
        return 1
    child = os.fork()
    if child == 0:
        _end_after(lambda: _serve(sockets.tasks, strength, identity))
    sockets.tasks.close()
    process = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    waiting.register(sockets.guard, 0)  # the end of the other side is told unasked
    if process not in dict(waiting.poll()):
        _kill(child)
    _, status, used = os.wait4(child, 0)
    _end_children()
    ended = Ended(code=os.waitstatus_to_exitcode(status), cpu_seconds=used.ru_utime + used.ru_stime)
    with suppress(ConnectionError):
        send(sockets.guard, ended)
    return 0


def _serve(connection: socket.socket, strength: Strength, identity: int | None) -> int:
    """Wait for an order, do it confined, and answer."""
    linux.end_with_parent(signal.SIGKILL)
    connection = _alone(connection)
    _, streams, *_ = socket.recv_fds(connection, 1, len(STREAMS))
    order = receive(connection, Order)
    if order is None:
        return 0
    for given, place in zip(streams, STREAMS, strict=True):
        os.dup2(given, place)
        os.close(given)
    os.environ.clear()
    os.environ.update(order.environment)
    hidden, scratch = Path(order.hidden), Path(order.task.scratch)
    try:
        if strength == "namespaces":
            confinement.enter_namespaces(order.task, hidden, identity)
            linux.end_with_parent(signal.SIGKILL)  # another user id has undone it
        elif strength == "landlock":
            confinement.enter_landlock(order.task, hidden)
        os.chdir(scratch)
        own_ids = strength == "namespaces"
        confinement.limit(order.task.allowance, scratch, own_ids=own_ids)
    except OSError as error:
        send(connection, Answer(refused=str(error)))
        return 1
    answer = _called(order)
    sys.stdout.flush()
    sys.stderr.flush()
    send(connection, answer)
    return 0


def _called(order: Order) -> Answer:
    module, _, name = order.task.function.partition(":")
    try:
        function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
        return Answer(result=function(order.task.argument))
    except TreadleError as error:
        return Answer(error=(kind_of(error), error.message), retry=error.retry)
    except MemoryError:
        traceback.print_exc()
        most = f"{confinement.memory_allowance(order.task.allowance) / 1e9:.3g} GB"
        says = f"MemoryError: it wanted more than the {most} that it may take (memory_gb)."
        return Answer(error=("Invalid", says))
    except Exception as error:
        traceback.print_exc()
        return Answer(error=("Invalid", f"{type(error).__name__}: {error}"))


def _alone(connection: socket.socket) -> socket.socket:
    """Close all that was inherited but the standard streams and the connection."""
    descriptor = connection.detach()
    if descriptor != GUARD:
        os.dup2(descriptor, GUARD, inheritable=False)
    os.closerange(GUARD + 1, min(os.sysconf("SC_OPEN_MAX"), _MOST_DESCRIPTORS))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return socket.socket(fileno=GUARD)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end_children() -> None:
    """Kill what is left of the task, until nothing is."""
    file = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(ChildProcessError, FileNotFoundError):
        while True:
            for pid in file.read_text().split():
                _kill(int(pid))
            os.waitpid(-1, 0)


def _end_after(work: Callable[[], int]) -> NoReturn:
    """End this process with the exit code that some work returns, whatever happens."""
    code = 1
    try:
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


if __name__ == "__main__":
    # Both move up, since the runner puts its own files at these places.
    own = Sockets(*(socket.socket(fileno=os.dup(number)) for number in (TASKS, GUARD)))
    os.close(GUARD)
    if sys.argv[1] in get_args(Strength):
        _end_after(lambda: begin(own, cast(Strength, sys.argv[1])))
