"""Clocks: the system's time, and a manual clock that plays a year of traffic in seconds."""

import mmap
import re
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from treadle.kernel.errors import Invalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Clock(Protocol):
    """The source of all times.

    Attributes:
        manual: Whether time moves only when somebody moves it.
    """

    manual: bool

    def now(self) -> datetime:
        """The present time, aware and in UTC."""


class SystemClock:
    """The machine's clock."""

    manual = False

    def now(self) -> datetime:
        """The present time, aware and in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved. With a file, several processes share its time.

    The file holds one 8-byte integer: microseconds since 1970. Reading it is a memory access.

    Args:
        start: The time at first, aware; ignored when the file holds a time already.
        file: File that holds the time; None for a clock of this process alone.
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
        """The present time, aware and in UTC."""
        return from_micros(struct.unpack_from("<q", self._memory)[0])

    def set(self, moment: datetime) -> None:
        """Set the time.

        Args:
            moment: The new time, aware.
        """
        struct.pack_into("<q", self._memory, 0, to_micros(moment))

    def advance(self, step: timedelta) -> None:
        """Move the time.

        Args:
            step: How far to move it.
        """
        self.set(self.now() + step)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment.

    Args:
        moment: An aware moment.
    """
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The moment, in UTC, that is a number of microseconds after the start of 1970.

    Args:
        micros: Microseconds since 1970.
    """
    return EPOCH + timedelta(microseconds=micros)


def in_utc(moment: datetime) -> datetime:
    """A moment with its time zone; one without is in UTC.

    Args:
        moment: The moment.
    """
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment(text: str) -> datetime:
    """Read a time, or a date for its beginning; in UTC where it names no zone.

    Args:
        text: Such as ``2026-01-31`` or ``2026-01-31T12:00``.

    Raises:
        Invalid: It is neither.
    """
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise Invalid(
            f"'{text:.40}' is no time. Write it as 2026-01-31 or 2026-01-31T12:00."
        ) from error


def duration(text: str) -> timedelta:
    """Parse a duration.

    Args:
        text: Number and unit: ``90s``, ``15m``, ``12h``, ``30d`` or ``2w``.

    Raises:
        Invalid: The text is malformed, or the duration is too long to be represented.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if not match:
        raise Invalid(
            f"'{text}' is not a duration. "
            "Write a number and a unit, such as 90s, 15m, 12h, 30d or 2w."
        )
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise Invalid(f"'{text}' is longer than any clock can count.") from error


def monotonic() -> float:
    """Seconds for measuring real durations (timeouts, latencies), independent of any clock."""
    return time.monotonic()
