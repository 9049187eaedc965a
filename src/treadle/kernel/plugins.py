"""Finds what installed packages register with Treadle by entry points."""

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from typing import Any

from treadle.kernel.errors import Invalid, did_you_mean


def registered(group: str) -> EntryPoints:
    """Return the entry points of a group.

    The installed packages are read once in a process: one that is installed meanwhile is found by
    the next process.

    Args:
        group: Name of the group, such as ``treadle.stage``.
    """
    points: EntryPoints = _every().select(group=group)
    return points


def factory_of(port: str, url: str) -> Callable[..., Any]:
    """Return the class of the backend that a URL's scheme names.

    Args:
        port: The port's name; backends are found among the entry points ``treadle.PORT``.
        url: The backend's URL.

    Raises:
        Invalid: No backend handles the URL.
    """
    scheme, colon, _ = url.partition(":")
    scheme = scheme.partition("+")[0]
    known = {entry.name: entry for entry in registered(f"treadle.{port}")}
    if not colon and scheme not in known:  # a name alone stands for itself, as in 'off'
        schemes = ", ".join(f"{name}:" for name in sorted(known))  # it may be a secret: not shown
        raise Invalid(f"What is given for the {port} is no URL, which begins with {schemes}")
    if scheme not in known:
        raise Invalid(f"No {port} backend handles '{scheme}:' URLs.{did_you_mean(scheme, known)}")
    factory: Callable[..., Any] = known[scheme].load()
    return factory


@cache
def _every() -> Any:  # its class is another one from Python 3.12 on
    return entry_points()
