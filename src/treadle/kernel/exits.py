"""How often a kept process has ended unasked, and of what: a small file beside its lock file."""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.files import write_whole

CALM = timedelta(minutes=10)
"""An end that comes later than this after the one before begins a new row."""
REFUSED_NOW, REFUSED = os.EX_TEMPFAIL, os.EX_CONFIG
"""With these codes a process leaves that has said why it may not work: now, or as it is set up."""
UNSEEN = "was gone, and nobody saw how it ended"


class Exits(Entity):
    """The ends of a process that nobody had asked for. Times are the machine's.

    Attributes:
        total: How many there were.
        in_a_row: How many of them came within ten minutes of the one before, the newest included.
        cause: How the newest came about, as the end of a sentence.
        pid: The process that ended last.
        at: When that was noticed.
    """

    total: int
    in_a_row: int
    cause: str
    pid: int
    at: datetime


def cause_of(returncode: int | None) -> str:
    """How a process ended, in words.

    Args:
        returncode: Its exit code, or the negative number of the signal that ended it; None where
            another process was its parent.
    """
    if returncode is None:
        return UNSEEN
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        return f"was ended by signal {-returncode} ({signal.Signals(-returncode).name})"
    except ValueError:
        return f"was ended by signal {-returncode}"


def note_exit(lock: Path, pid: int, returncode: int | None) -> Exits:
    """Record that a process has ended unasked.

    Args:
        lock: The process's lock file.
        pid: The process's id.
        returncode: As for ``cause_of``.

    Returns:
        What is recorded now.
    """
    now, before = datetime.now(UTC), exits_of(lock)
    goes_on = before is not None and now - before.at < CALM
    exits = Exits(
        total=1 + (before.total if before else 0),
        in_a_row=1 + (before.in_a_row if before and goes_on else 0),
        cause=cause_of(returncode),
        pid=pid,
        at=now,
    )
    write_whole(_file(lock), to_json(exits))
    return exits


def exits_of(lock: Path) -> Exits | None:
    """What is recorded of a process's ends; None where it never ended unasked.

    Args:
        lock: The process's lock file.
    """
    try:
        return from_json(_file(lock).read_bytes(), Exits)
    except (FileNotFoundError, Invalid):  # a file that is damaged counts as none
        return None


def _file(lock: Path) -> Path:
    return lock.with_suffix(".exits.json")
