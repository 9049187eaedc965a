"""What happened, in the past tense: a frozen fact about a subject, with what it used and what it made."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from treadle.kernel.entity import Entity


class Event(Entity):
    """A fact. Subclass it with a past-tense name; the class name is the stored type.

    ``subject`` is the thing the event is about, as ``kind:name``. ``uses`` and ``makes`` name what went in
    and what came out, so that lineage is the event log read sideways.
    """

    registry: ClassVar[dict[str, "type[Event]"]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Event.registry[cls.__name__] = cls

    @property
    def subject(self) -> str:
        raise TypeError(f"{type(self).__name__} must say what it is about: define its subject.")

    @property
    def uses(self) -> tuple[str, ...]:
        return ()

    @property
    def makes(self) -> tuple[str, ...]:
        return ()


class Act(Entity):
    """In whose name something is done now, and the number of the event that caused it."""

    actor: str = "system"
    cause: int | None = None


_act: ContextVar[Act] = ContextVar("act", default=Act())  # noqa: B039


def current_act() -> Act:
    return _act.get()


def act_as(actor: str) -> None:
    """From now on events carry ``actor``, for as long as this context lasts; what a command line calls once."""
    _act.set(Act(actor=actor))


@contextmanager
def acting(actor: str | None = None, *, cause: int | None = None) -> Iterator[None]:
    """Within this block, events carry ``actor`` and ``cause``. What is not given stays as it was."""
    now = _act.get()
    token = _act.set(Act(actor=actor or now.actor, cause=cause if cause is not None else now.cause))
    try:
        yield
    finally:
        _act.reset(token)
