"""Where a job's process runs."""

import os
import signal
import threading
import time
from typing import Protocol

from treadle.kernel.entity import Entity


class Launch(Entity):
    """One attempt at a job: what to run, as what environment, and under which name (unique to the attempt)."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = {}


class Executor(Protocol):
    """Runs processes that outlive a call, and tells how they ended.

    - ``start`` returns once the process exists. A name is started at most once.
    - ``poll`` gives None while it runs, then its exit code for ever (negative: the signal that ended it).
    - ``cancel`` ends the process and all that it started; it may repeat, and may come after the end.
    - ``log`` gives what it has printed from byte ``offset`` on; it stays readable after the end.
    - A process that its starter abandons (because the starter died) ends by itself, with all that it started.
    """

    def start(self, launch: Launch) -> None: ...

    def poll(self, name: str) -> int | None: ...

    def cancel(self, name: str) -> None: ...

    def log(self, name: str, offset: int = 0) -> bytes: ...

    def close(self) -> None: ...


def end_when_abandoned() -> None:
    """End this process as soon as whoever started it is gone; what a job's process calls first."""
    parent = int(os.environ.get("TREADLE_PARENT", os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.25)
        if os.getpgrp() == os.getpid():  # whatever this process started goes with it
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os._exit(75)

    threading.Thread(target=watch, daemon=True).start()
