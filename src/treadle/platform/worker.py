"""The worker process: turns the wheel and runs jobs. ``python -m treadle.platform.worker``."""

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from treadle.kernel import process
from treadle.kernel.errors import TreadleError, is_passing
from treadle.platform import logs
from treadle.platform.settings import Settings, from_environment
from treadle.platform.supervisor import revive
from treadle.platform.watchdog import Watchdog, longest_turn_seconds
from treadle.platform.wiring import Embedded

IDLE_SECONDS, BUSY_SECONDS = 0.2, 0.02
log = logging.getLogger("treadle.worker")


def main() -> int:
    """Turn the wheel and run jobs until told to stop, or until the home is removed."""
    logs.configure("worker")
    with logs.opening():
        settings = from_environment()
    with logs.lifetime("worker", settings.home):
        _work(settings)
    return 0


def _work(settings: Settings) -> None:
    process.hold(settings.folder / "run" / "worker.lock", what=f"The worker of '{settings.home}'")
    with logs.opening():
        platform = Embedded(settings)
    worker = platform.worker(f"worker {settings.home}")
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    look_at = 0.0
    watchdog = Watchdog(longest_turn_seconds())
    lock = settings.folder / "run" / "worker.lock"
    while not stopping and lock.exists():  # a home that was removed needs no worker
        watchdog.beat()
        look_alive(lock)
        try:
            revive(settings)
            moved = worker.reconcile()
            # While jobs run, the wheel is looked at only now and then.
            if moved or time.monotonic() >= look_at:
                moved += platform.reconcile()
                platform.note_head()
                look_at = time.monotonic() + IDLE_SECONDS
        except Exception as error:  # the next turn tries again
            _tell(error)
            moved = 0
            time.sleep(1)
        if not moved:
            time.sleep(BUSY_SECONDS if worker.busy else IDLE_SECONDS)
    worker.stop()
    platform.note_head()


def _tell(error: Exception) -> None:
    """Log why a turn was not ended: in a sentence where something is away or used up."""
    if isinstance(error, TreadleError):
        log.warning("%s", error.message)
    elif is_passing(error):
        log.warning("a turn of the wheel was not ended: %s", error)
    else:
        log.error("a turn of the wheel failed", exc_info=error)


def look_alive(lock: Path) -> None:
    """Note in the lock file that the worker takes its turns: the file's time is its last sign."""
    with suppress(OSError):  # the home was removed
        os.utime(lock)


if __name__ == "__main__":
    sys.exit(main())
