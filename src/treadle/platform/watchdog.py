"""Ends a process that hangs, after the stacks of all its threads are in its log.

Whoever keeps the process starts another one. The watching is ``faulthandler``'s: a thread that
needs neither the event loop nor Python's global lock, so that nothing in Python can hold it up.
"""

import faulthandler
import os
import sys
import time
from typing import IO

from treadle.kernel.errors import Invalid
from treadle.ports.database import Bounded, Database

HANG, QUERY = "TREADLE_WATCHDOG_SECONDS", "TREADLE_QUERY_SECONDS"
HANG_SECONDS, QUERY_SECONDS = 30.0, 30.0
TURN_FACTOR = 10
"""How much longer a worker's turn may take than the server's event loop: it may fetch a model."""
_BEATS = 20
"""How often at most the time begins anew, within the time that the process may hang."""


class Watchdog:
    """Ends this process unless ``beat`` is called again and again. The first call begins it.

    Args:
        seconds: Longest time between two calls; 0 turns the watchdog off.
        stacks: An open file that takes the stacks; None takes the standard error.
    """

    def __init__(self, seconds: float, *, stacks: IO[str] | None = None) -> None:
        self._seconds, self._stacks = seconds, stacks
        self._beaten_at = float("-inf")

    def beat(self) -> None:
        """Say that all is well. It costs next to nothing where it was said a moment ago."""
        now = time.monotonic()
        if self._seconds and now - self._beaten_at >= self._seconds / _BEATS:
            self._beaten_at = now
            faulthandler.dump_traceback_later(
                self._seconds, exit=True, file=self._stacks or sys.stderr
            )

    def end(self) -> None:
        """Watch no longer."""
        faulthandler.cancel_dump_traceback_later()
        self._beaten_at = float("-inf")


def longest_turn_seconds() -> float:
    """Return how long a worker's turn may take, after which the worker is ended; 0 is no limit.

    Raises:
        Invalid: The variable that may change it is no number of seconds.
    """
    return TURN_FACTOR * declared_seconds(HANG, HANG_SECONDS)


def bound_queries(database: Database) -> None:
    """End statements that take longer than callers' may, where the database can.

    Args:
        database: The database of a process that answers callers.

    Raises:
        Invalid: The variable that may change it is no number of seconds.
    """
    seconds = declared_seconds(QUERY, QUERY_SECONDS)
    if seconds and isinstance(database, Bounded):
        database.bound(seconds)


def silence_seconds() -> float:
    """Return the silence of a worker that no turn explains.

    Raises:
        Invalid: The variable that may change it is no number of seconds.
    """
    return longest_turn_seconds() or TURN_FACTOR * HANG_SECONDS


def declared_seconds(variable: str, default: float) -> float:
    """Return a limit in seconds that an environment variable may change; 0 is none.

    Args:
        variable: The variable's name.
        default: The limit where the variable is not set.

    Raises:
        Invalid: The variable is no number of seconds.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise Invalid(f"{variable} is '{text}'. Give it a number of seconds; 0 turns it off.")
    return seconds
