"""Declares what a stage brings, and assembles stages into one platform."""

import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from treadle.kernel.errors import Invalid

F = TypeVar("F", bound=Callable[..., Any])
_ANSWERS = "__treadle_answers__"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A class whose operations are offered in Python, over HTTP and on the command line.

    Attributes:
        name: What it is called in routes, commands and on a platform.
        about: One sentence for help texts.
        kind: ``MODULE:CLASS`` with the operations.
        here: ``MODULE:CLASS``, a subclass with what only this process offers, or empty.
    """

    name: str
    about: str
    kind: str
    here: str = ""

    def load(self) -> type:
        """The class with the operations."""
        kind: type = loaded(self.kind)
        return kind

    def load_here(self) -> type:
        """The class that this process makes."""
        kind: type = loaded(self.here or self.kind)
        return kind


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage brings to a platform. Nothing is imported before it is used.

    Attributes:
        name: The stage's name.
        services: What it offers.
        parts: ``MODULE:CLASS`` of collaborators that are not offered; made before the services.
        tables: The module that declares its tables.
    """

    name: str
    services: tuple[Service, ...] = ()
    parts: tuple[str, ...] = ()
    tables: str = ""


class Hook:
    """A question that one stage declares and methods of any stage answer.

    Calling the hook marks a method as an answer; ``key`` says which part of the question it
    answers, such as a job's kind. ``Assembly.answers`` gives the marked methods of all that was
    assembled, in stage order.

    Args:
        name: The question in a few words, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, key: object = None) -> Callable[[F], F]:
        """Mark a method as an answer.

        Args:
            key: The part of the question that it answers; None where there is only one.
        """

        def mark(function: F) -> F:
            answers: list[tuple[Hook, object]] = function.__dict__.setdefault(_ANSWERS, [])
            answers.append((self, key))
            return function

        return mark


RECONCILE = Hook("reconcile")
"""Methods without arguments that take the step possible now and return how much changed."""

JOB = Hook("job")
"""Methods that do a job's work, by the job's kind: they take its payload and return its result."""

PROJECT_OF = Hook("project of")
"""Methods that find the project of what a parameter names, by the kind of thing (see ``Names``).

They take the name and all arguments of the request; None where the name leads to no project of its
own.
"""

PROJECTS_OF_CONTENT = Hook("projects of content")
"""Methods that find the projects whose things name a content: each stage answers for its tables.

They take the content's digest. Content is readable by who may read something that names it, so a
column that a caller can fill with any text is no answer.
"""


SENSITIVE_CONTENT = Hook("sensitive content")
"""Methods that list the contents that hold rows of a dataset (``ports/content.py``): they take the
project, the dataset's name and its declaration.
"""

NAMED_CONTENT = Hook("named content")
"""Methods without arguments that yield each content (``ports/content.py``) that a stage's rows
name, with the thing that names it.
"""

ERASE = Hook("erase")
"""Methods by which a person's rows are erased wherever a stage keeps rows, by the part of it
(``data/erasing/finding.py`` calls the first two, ``data/erasing/local.py`` the others):

- ``contents``: without arguments; yield what the stage's rows name (``HeldContent`` in
  ``ports/content.py``).
- ``rows``: of the subjects and a project, or None for all; yield ``HeldRows``, what is kept
  elsewhere than in contents.
- ``remove``: of the subjects and a project; remove those rows, and return how many. May repeat.
- ``replace``: of a transaction, ``Replacements`` and a project; let the stage's rows name the new
  contents.
- ``models``: of digests and a project; give ``LearntModel``, the versions that learnt from them.
- ``mark``: of a transaction, an erasure's id and such versions; mark them.
"""


class Answer(NamedTuple):
    """One method that answers a hook."""

    key: Any
    method: Callable[..., Any]


class Assembly:
    """Makes the parts and services of stages, giving each what its constructor asks for.

    A parameter annotated with a class that is there receives it; one of a plain type (``Path``,
    ``bytes``) receives the value that was given under the parameter's name.

    Attributes:
        services: The services made so far, by name.
    """

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self._by_type: dict[Any, Any] = {Assembly: self}
        self._by_name: dict[str, Any] = {}
        self._made: list[Any] = []
        self._answers: dict[Hook, list[Answer]] = {}

    def provide(self, kind: Any, value: Any) -> None:
        """Give a value to every constructor that asks for its type.

        Args:
            kind: The annotation that asks for it, such as a port's Protocol.
            value: What the constructors receive.
        """
        self._by_type[kind] = value

    def provide_named(self, **values: Any) -> None:
        """Give values to constructors' parameters of plain types.

        Args:
            **values: Values by the parameter's name.
        """
        self._by_name |= values

    def add(self, stage: Stage) -> None:
        """Make a stage's parts, then its services.

        Args:
            stage: The stage; those whose services it asks for were added before it.

        Raises:
            Invalid: Something that it asks for is not provided by any stage before it.
        """
        for part in stage.parts:
            self._make(loaded(part), stage)
        for service in stage.services:
            self.services[service.name] = self._make(service.load_here(), stage)

    def answers(self, hook: Hook) -> list[Answer]:
        """The methods that answer a hook, in the order in which their stages were added.

        Args:
            hook: The hook that marked them.
        """
        if hook not in self._answers:
            self._answers[hook] = [
                Answer(key, getattr(part, name))
                for part in self._made
                for name, function in _functions(type(part))  # type: ignore[arg-type]
                for answered, key in function.__dict__.get(_ANSWERS, ())
                if answered is hook
            ]
        return self._answers[hook]

    def answer(self, hook: Hook, key: object) -> Callable[..., Any] | None:
        """The method that answers one part of a hook's question.

        Args:
            hook: The hook that marked it.
            key: The part, such as a job's kind.

        Returns:
            The first such method, or None where there is none.
        """
        return next((found.method for found in self.answers(hook) if found.key == key), None)

    def _make(self, kind: type, stage: Stage) -> Any:
        hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]
        given = {}
        for name in inspect.signature(kind).parameters:
            if hints.get(name) in self._by_type:
                given[name] = self._by_type[hints[name]]
            elif name in self._by_name:
                given[name] = self._by_name[name]
            else:
                raise Invalid(
                    f"Stage '{stage.name}': {kind.__name__} asks for '{name}' "
                    f"({hints.get(name)}), which no stage before it provides."
                )
        made = kind(**given)
        for base in kind.__mro__[:-1]:
            self._by_type[base] = made
        self._made.append(made)
        self._answers.clear()
        return made


def loaded(path: str) -> Any:
    """Import an object.

    Args:
        path: Where it is, written MODULE:NAME.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has no such name.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def services_of(stages: Iterable[Stage]) -> Mapping[str, Service]:
    """All services of some stages by name.

    Args:
        stages: The stages, in their order.

    Raises:
        Invalid: Two stages offer a service of one name.
    """
    services: dict[str, Service] = {}
    for stage in stages:
        for service in stage.services:
            if service.name in services:
                raise Invalid(f"Two stages offer a service named '{service.name}'. Rename one.")
            services[service.name] = service
    return services


def kinds_of(stages: Iterable[Stage]) -> dict[str, type]:
    """The classes with the operations of all services of some stages, by service name.

    Args:
        stages: The stages, in their order.

    Raises:
        Invalid: Two stages offer a service of one name.
    """
    return {name: service.load() for name, service in services_of(stages).items()}


@cache
def _functions(kind: type) -> Sequence[tuple[str, Any]]:
    """A class's functions, its bases' first, each once and as the class has it."""
    names = [name for base in reversed(kind.__mro__) for name in vars(base)]
    attributes = ((name, inspect.getattr_static(kind, name)) for name in dict.fromkeys(names))
    return [(name, one) for name, one in attributes if inspect.isfunction(one)]
