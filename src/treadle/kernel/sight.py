"""Which projects are visible to whoever an operation is done for, and whether that is all."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_limited: ContextVar[bool] = ContextVar("limited", default=False)
_visible: ContextVar[frozenset[str] | None] = ContextVar("visible", default=None)


def visible_projects() -> frozenset[str] | None:
    """Return the projects that lists and searches may show now; None for all of them."""
    return _visible.get()


@contextmanager
def seeing(projects: Collection[str]) -> Iterator[None]:
    """Let lists and searches within the block show these projects only.

    A list that is cut afterwards would tell of other projects by its length and its page tokens, so
    it is restricted before it is filtered, ordered and cut into pages.

    Args:
        projects: Names of the projects.
    """
    before = _visible.set(frozenset(projects))
    try:
        yield
    finally:
        _visible.reset(before)


def is_limited() -> bool:
    """Return whether this is done for somebody who may not read everything.

    What they say of a content gives nobody a right to read it.
    """
    return _limited.get()


@contextmanager
def limited() -> Iterator[None]:
    """Mark what is done within the block as done for somebody who may not read everything."""
    before = _limited.set(True)
    try:
        yield
    finally:
        _limited.reset(before)
