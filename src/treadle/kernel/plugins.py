"""Finds what installed packages register with Treadle by entry points."""

from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any


def registered(group: str) -> EntryPoints:
    """Return the entry points of a group.

    The installed packages are read once in a process: one that is installed meanwhile is found by
    the next process.

    Args:
        group: Name of the group, such as ``treadle.stage``.
    """
    points: EntryPoints = _every().select(group=group)
    return points


@cache
def _every() -> Any:  # its class is another one from Python 3.12 on
    return entry_points()
