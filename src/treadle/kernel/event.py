"""Events: frozen facts in the past tense, and in whose name and by what cause they are written."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from treadle.kernel.entity import Entity


class Event(Entity):
    """A fact about a subject.

    Subclass it with a past-tense name: the class name is the stored type. Give the subclass a field
    ``project``, or a property ``belongs_to`` that gives None where it belongs to no project.
    Two event classes of one name are a TypeError when the second is made. Classes whose name begins
    with an underscore are bases of others and are never stored.
    """

    registry: ClassVar[dict[str, "type[Event]"]] = {}
    """The event classes by name: what a stored type is decoded to."""
    is_signature: ClassVar[bool] = False
    """Whether a person answers for the event's subject by it."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__name__.startswith("_"):
            return
        known = Event.registry.get(cls.__name__, cls)
        if _place(known) != _place(cls):  # the same place again is a reload
            raise TypeError(
                f"Two events are named '{cls.__name__}': {_place(known)} and {_place(cls)}. "
                f"The name is what is stored, so rename one."
            )
        Event.registry[cls.__name__] = cls

    @property
    def subject(self) -> str:
        """The thing the event is about, as ``kind:name``."""
        raise TypeError(f"{type(self).__name__} must say what it is about: define its subject.")

    @property
    def belongs_to(self) -> str | None:
        """The project it belongs to: its field ``project``.

        A class of events that belong to no project overrides this and gives None.
        """
        if "project" not in self.__struct_fields__:
            raise TypeError(
                f"{type(self).__name__} must say which project it belongs to: give it a field "
                f"'project', or a property 'belongs_to' that gives None."
            )
        project: str | None = getattr(self, "project")  # noqa: B009
        return project

    @property
    def uses(self) -> tuple[str, ...]:
        """The things that went in, as ``kind:name``: lineage is read from the event log."""
        return ()

    @property
    def makes(self) -> tuple[str, ...]:
        """The things that came out, as ``kind:name``."""
        return ()


def _place(kind: type[Event]) -> str:
    """Where a class is defined."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Act(Entity):
    """In whose name something is done now, and the number of the event that caused it."""

    actor: str = "system"
    cause: int | None = None


_act: ContextVar[Act] = ContextVar("act", default=Act())  # noqa: B039


def current_act() -> Act:
    """In whose name, and by what cause, events are written now."""
    return _act.get()


def act_as(actor: str) -> None:
    """Write events in somebody's name from now on; a command line calls this once.

    Args:
        actor: The name that events carry for as long as this context lasts.
    """
    _act.set(Act(actor=actor))


@contextmanager
def acting(actor: str | None = None, *, cause: int | None = None) -> Iterator[None]:
    """Write events in somebody's name, or as the effect of another event, within a block.

    Args:
        actor: The name that events carry; who acts now if not given.
        cause: The number of the event that causes them; the current cause if not given.
    """
    now = _act.get()
    token = _act.set(Act(actor=actor or now.actor, cause=cause if cause is not None else now.cause))
    try:
        yield
    finally:
        _act.reset(token)
