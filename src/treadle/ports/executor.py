"""The port to whatever runs the processes of jobs."""

import os
import signal
import threading
import time
from typing import Protocol

from treadle.kernel.entity import Entity


class Launch(Entity):
    """One attempt at a job, as a command to run.

    Attributes:
        name: Name of the attempt, unique among all attempts.
        arguments: Command line of the process.
        environment: Further environment variables.
        confine: How code is confined that the process will run, empty for none; an executor may
            begin the process of that code beforehand.
    """

    name: str
    arguments: list[str]
    environment: dict[str, str] = {}
    confine: str = ""


class Executor(Protocol):
    """Runs processes that outlive a call, and reports how they ended.

    - ``start`` returns once the process exists. A name is started at most once.
    - ``cancel`` ends the process and all that it started; it may repeat, and may come after the
      end.
    - ``log`` stays readable after the end.
    - A process whose starter has died ends by itself, with all that it started.
    """

    def start(self, launch: Launch) -> None:
        """Start a process.

        Args:
            launch: The attempt to run.
        """

    def poll(self, name: str) -> int | None:
        """The exit code of a process, or None while it runs.

        Args:
            name: Name of the attempt.

        Returns:
            The exit code, the same ever after; a negative one is the number of the signal that
                ended the process.
        """

    def cancel(self, name: str) -> None:
        """End a process and all that it started.

        Args:
            name: Name of the attempt.
        """

    def log(self, name: str, offset: int = 0) -> bytes:
        """Read what a process has printed.

        Args:
            name: Name of the attempt.
            offset: Number of bytes to skip.
        """

    def close(self) -> None:
        """Release what the executor holds."""


def end_when_abandoned() -> None:
    """End this process as soon as its starter is gone. A job's process calls this first."""
    parent = int(os.environ.get("TREADLE_PARENT", os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        if os.getpgrp() == os.getpid():  # whatever this process started goes with it
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(75)

    threading.Thread(target=watch, daemon=True).start()
