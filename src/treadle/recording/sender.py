"""Sends a run while it goes on: a thread that training never waits for."""

import concurrent.futures.thread  # noqa: F401  a home uses it; past the program's end it cannot load
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from treadle.kernel.event import acting
from treadle.recording.uploader import Store, Uploader

log = logging.getLogger("treadle")
EVERY_SECONDS = 0.5
"""Time between two attempts to send what was logged."""
SLOWEST_SECONDS = 30.0
"""Longest time between two attempts while the server does not answer."""
PATIENCE_SECONDS = 10.0
"""How long the end of a run waits while nothing is delivered."""
SLOWEST_BYTES_A_SECOND = 1 << 20
"""A large file may take as long again as it does at this speed."""


class Sender:
    """Sends what a recorder's folder holds, from a thread, until the run is over.

    Args:
        spool: Folder that holds what is not sent yet.
        folder: Name of the recorder's folder in the spool.
        open_store: Opens the home or server that receives the run.
        user: In whose name the run is sent.

    Raises:
        Conflict: Another process sends this folder.
    """

    def __init__(
        self, spool: Path, folder: str, open_store: Callable[[], Store], *, user: str
    ) -> None:
        self._folder = spool / folder
        self._open_store = open_store
        self._user = user
        self._uploader = Uploader(spool, folder)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self) -> None:
        """Send what is left, waiting while it makes progress; say so when something is left."""
        self._over.set()
        self._uploader.last_delivery = monotonic()
        while self._thread.is_alive() and not self._is_in_vain():
            self._thread.join(0.05)
        if self._folder.exists():
            run, spool = self._uploader.run, self._folder.parent
            refused = "".join(f"\n  refused: {reason}" for reason in self._uploader.refused)
            print(
                f"treadle: run {run} is not delivered completely. "
                f"What is left waits in '{spool}'; send it with: treadle sync{refused}",
                file=sys.stderr,
            )

    def _is_in_vain(self) -> bool:
        """Whether nothing was delivered for longer than what is being sent may take."""
        allowed = PATIENCE_SECONDS + self._uploader.sending_bytes / SLOWEST_BYTES_A_SECOND
        return monotonic() - self._uploader.last_delivery > allowed

    def _send(self) -> None:
        """Send what is logged until the run is over, and then once more; runs in a thread."""
        pause_seconds = EVERY_SECONDS
        warned = False
        over = False
        with acting(self._user):
            while not over:
                over = self._over.wait(pause_seconds)
                try:
                    store = self._open_store()
                    while self._uploader.send_next(store):
                        pass
                    pause_seconds = EVERY_SECONDS
                except Exception as error:  # whatever it is, training goes on, and the spool stays
                    pause_seconds = min(pause_seconds * 2, SLOWEST_SECONDS)
                    if not warned:
                        warning = "Run %s is kept in '%s' and will be sent later: %s"
                        log.warning(warning, self._uploader.run, self._folder.parent, error)
                    warned = True
        self._uploader.close()
