"""All time comes from a clock, so that a year of traffic can be played in seconds."""

import mmap
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What time it is. ``now`` is always UTC and aware; ``manual`` says that time moves only when somebody moves it."""

    manual: bool

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    manual = False

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """Stands still until moved. Shares its time with other processes when given a file.

    The file holds one 8-byte integer: microseconds since 1970. Reading it is a memory access.
    """

    manual = True

    def __init__(self, start: datetime = EPOCH, *, file: Path | None = None) -> None:
        self._memory: bytearray | mmap.mmap = bytearray(8)
        if file is not None:
            fresh = not file.exists() or file.stat().st_size != 8
            if fresh:
                file.write_bytes(bytes(8))
            with file.open("r+b") as handle:
                self._memory = mmap.mmap(handle.fileno(), 8)
            if not fresh:
                return
        self.set(start)

    def now(self) -> datetime:
        return from_micros(struct.unpack_from("<q", self._memory)[0])

    def set(self, moment: datetime) -> None:
        struct.pack_into("<q", self._memory, 0, to_micros(moment))

    def advance(self, step: timedelta) -> None:
        self.set(self.now() + step)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def monotonic() -> float:
    """Seconds for measuring real durations (timeouts, latencies), whatever the clock says."""
    return time.monotonic()
