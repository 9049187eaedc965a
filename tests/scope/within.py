"""A bound on computing, so that a loop without end fails its test instead of stopping the suite."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def within(cpu_seconds: float) -> Iterator[None]:
    """Fail when the block computes for longer.

    It counts processor time, so a busy machine does not matter.
    """

    def over(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"still computing after {cpu_seconds:g} s")

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
