"""Waiting for what other processes do: look often, give up after a while."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 90.0


def eventually(look: Callable[[], T | None], *, what: str) -> T:
    """The first true value that ``look`` gives; fails, naming ``what``, when none comes in time.

    Fails, naming ``what``, when there is none in time.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.005)
    return found
