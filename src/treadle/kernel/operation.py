"""Operations: one typed method each, and all that is derived from it.

That is a Python call, an HTTP route, an OpenAPI entry, a command and a remote client's method.
"""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from treadle.kernel.clock import in_utc, moment
from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid

Role = Literal["viewer", "editor", "approver", "admin"]
F = TypeVar("F", bound=Callable[..., Any])

ROLES: tuple[Role, ...] = ("viewer", "editor", "approver", "admin")
"""Each may do all that those before it may."""


class Names(NamedTuple):
    """Says what a parameter names: ``Annotated[str, Names("run")]``.

    A request is allowed where its caller has a role in the project of all that it names. How a kind
    of thing leads to its project is declared by the stage that keeps it (``PROJECT_OF`` in
    ``kernel/stage.py``). Content, which many projects may name, is allowed where its caller may
    read it (``PROJECTS_OF_CONTENT``).
    """

    kind: str


class Named(NamedTuple):
    """Something that an argument names."""

    kind: str
    value: Any


class Docstring(NamedTuple):
    """A docstring in Google's style, taken apart."""

    text: str
    arguments: dict[str, str]
    returns: str
    raises: dict[str, str]


class Parameter(NamedTuple):
    """One parameter of an operation. ``kind`` is its annotation with all extras."""

    name: str
    kind: Any
    description: str
    required: bool
    default: Any


class Operation:
    """What a marked method says of itself: the only place where the operation is described."""

    def __init__(
        self,
        function: Callable[..., Any],
        kind: Literal["command", "query"],
        role: Role,
        everywhere: bool,
        brings_code: bool,
        reads_rows: bool,
        searches: bool,
    ) -> None:
        self.function, self.kind, self.role, self.everywhere = function, kind, role, everywhere
        self.brings_code, self.reads_rows, self.searches = brings_code, reads_rows, searches
        self.name = function.__name__

    @cached_property
    def documentation(self) -> Docstring:
        """The method's docstring, taken apart."""
        return read_docstring(inspect.getdoc(self.function) or "")

    @property
    def doc(self) -> str:
        """What the operation does, without the sections on arguments, result and errors."""
        return self.documentation.text

    @property
    def summary(self) -> str:
        """The docstring's first paragraph, in one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())

    @property
    def method(self) -> str:
        """The HTTP method: GET for a query, POST for a command."""
        return "POST" if self.kind == "command" else "GET"

    @property
    def arguments(self) -> type[msgspec.Struct]:
        """A strict struct of the method's parameters, built once from its signature."""
        return _arguments(self.function)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The method's parameters by name, in their order."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        described = self.documentation.arguments
        return {
            name: Parameter(
                name,
                hints[name],
                described.get(name, ""),
                parameter.default is inspect.Parameter.empty,
                parameter.default,
            )
            for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]
        }

    @cached_property
    def _times(self) -> set[str]:
        """Names of the parameters that are moments."""
        hints = typing.get_type_hints(self.function)
        return {
            name
            for name in self.parameters
            if datetime in (hints.get(name), *typing.get_args(hints.get(name)))
        }

    @cached_property
    def result(self) -> Any:
        """The annotation of what the method returns."""
        return typing.get_type_hints(self.function).get("return", None)

    def takes_text(self, name: str) -> bool:
        """Whether a parameter is text, or text or nothing.

        Args:
            name: Name of the parameter.
        """
        kind = typing.get_type_hints(self.function).get(name, str)
        union = typing.get_origin(kind) in (typing.Union, types.UnionType)
        either = typing.get_args(kind) if union else ()
        return kind is str or (str in either and not any(map(typing.get_args, either)))

    def bind(self, given: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """Check and convert plain arguments.

        Args:
            given: Arguments by name, as JSON has them.
            strict: Whether numbers may not be given as text.

        A date stands for its beginning, and a time without a zone is in UTC.

        Raises:
            Invalid: An argument is unknown, missing or of another type; the message names it
                and the near miss.
        """
        timed = {name: _moment(name, value) for name, value in given.items() if name in self._times}
        struct = from_plain({**given, **timed}, self.arguments, strict=strict)
        for name in struct.__struct_fields__:
            _refuse_huge(name, getattr(struct, name))
        return {name: getattr(struct, name) for name in struct.__struct_fields__}

    def named(self, arguments: Mapping[str, Any]) -> Iterator[Named]:
        """All that bound arguments name, as their annotations say.

        Args:
            arguments: Arguments as ``bind`` gives them, by name.
        """
        for name, value in arguments.items():
            yield from _named(self.parameters[name].kind, value)


def command(
    *,
    role: Role = "editor",
    everywhere: bool = False,
    brings_code: bool = False,
    reads_rows: bool = False,
) -> Callable[[F], F]:
    """Mark a method that changes something.

    Args:
        role: The role that its caller needs in the project of all that is named.
        everywhere: Whether the role in one project is not enough, whatever is named.
        brings_code: Whether it runs code that its caller brings. Where code is not confined by
            namespaces, only an admin of every project may call it.
        reads_rows: Whether it may read all rows of datasets; a server does few of these at a time.
    """
    return _mark("command", role, everywhere, brings_code, reads_rows, False)


def query(
    *,
    role: Role = "viewer",
    everywhere: bool = False,
    reads_rows: bool = False,
    searches: bool = False,
) -> Callable[[F], F]:
    """Mark a method that only looks.

    Args:
        role: The role that its caller needs in the project of all that is named.
        everywhere: Whether the role in one project is not enough, whatever is named.
        reads_rows: Whether it may read all rows of datasets, or as much of a log; a server does
            few of these at a time.
        searches: Whether it may look at all runs, traces or models, as operations do whose name
            begins with ``search``; a server does few of these at a time.
    """
    return _mark("query", role, everywhere, False, reads_rows, searches)


def _mark(
    kind: Literal["command", "query"],
    role: Role,
    everywhere: bool,
    brings_code: bool,
    reads_rows: bool,
    searches: bool,
) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        operation = Operation(function, kind, role, everywhere, brings_code, reads_rows, searches)
        function.__operation__ = operation  # type: ignore[attr-defined]
        return function

    return decorate


@cache
def operations(service: type) -> dict[str, Operation]:
    """The marked methods of a service class.

    Args:
        service: The class; its bases' methods count.

    Returns:
        Operations by name: the bases' first, each in the order in which it is written.
    """
    found: dict[str, Operation] = {}
    for base in reversed(service.__mro__):
        for value in vars(base).values():
            if (operation := getattr(value, "__operation__", None)) is not None:
                found[operation.name] = operation
    return found


_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples|Note):$")
_ENTRY = re.compile(r"^(?P<name>[*\w.]+)(?: \([^)]*\))?: ?(?P<text>.*)$")


def read_docstring(text: str) -> Docstring:
    """Take a docstring in Google's style apart.

    Args:
        text: The docstring without its indentation.
    """
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in text.splitlines():
        if section := _SECTION.match(line):
            current = section[1]
            sections[current] = []
        else:
            sections[current].append(line)
    return Docstring(
        "\n".join(sections[""]).strip(),
        _entries(sections.get("Args", [])),
        " ".join(line.strip() for line in sections.get("Returns", [])).strip(),
        _entries(sections.get("Raises", [])),
    )


def _entries(lines: list[str]) -> dict[str, str]:
    """``NAME: text`` with continuation lines that are indented further."""
    entries: dict[str, str] = {}
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    name = ""
    for line in lines:
        entry = _ENTRY.match(line[depth:])
        if entry is not None:
            name = entry["name"].lstrip("*")
            entries[name] = entry["text"].strip()
        elif name and line.strip():
            entries[name] = f"{entries[name]} {line.strip()}".strip()
    return entries


def _named(kind: Any, value: Any) -> Iterator[Named]:
    """What a value names, by the annotations of its type.

    Lists, mappings and the fields of entities are looked into.
    """
    if value in (None, "") or not _may_name(kind):
        return
    if typing.get_origin(kind) is typing.Annotated:
        inner, *extras = typing.get_args(kind)
        names = [extra for extra in extras if isinstance(extra, Names)]
        for one in names:
            parts = value if isinstance(value, list | tuple) else [value]
            yield from (Named(one.kind, part) for part in parts)
        if not names:
            yield from _named(inner, value)
    elif isinstance(kind, type) and isinstance(value, kind) and isinstance(value, msgspec.Struct):
        for name, hint in _hints(type(value)).items():
            yield from _named(hint, getattr(value, name))
    elif typing.get_origin(kind) in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            yield from _named(option, value)
    elif typing.get_origin(kind) is dict and isinstance(value, Mapping):
        of_key, of_value = typing.get_args(kind)
        for key, part in value.items():
            yield from _named(of_key, key)
            yield from _named(of_value, part)
    elif typing.get_origin(kind) in (list, tuple) and isinstance(value, list | tuple):
        inner = typing.get_args(kind)[0]
        for part in value:
            yield from _named(inner, part)


@cache
def _may_name(kind: Any) -> bool:
    """Whether anything within a type is annotated with ``Names``."""
    return _names_within(kind, frozenset())


def _names_within(kind: Any, above: frozenset[type]) -> bool:
    """The same, for a type within others: one that holds itself is looked at once."""
    if typing.get_origin(kind) is typing.Annotated:
        inner, *extras = typing.get_args(kind)
        return any(isinstance(extra, Names) for extra in extras) or _names_within(inner, above)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inside = above | {kind}
        return kind not in above and any(
            _names_within(hint, inside) for hint in _hints(kind).values()
        )
    return any(_names_within(part, above) for part in typing.get_args(kind))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _moment(name: str, value: Any) -> Any:
    """A moment that was given as text or without a zone; anything else as it is."""
    if isinstance(value, str):
        try:
            return moment(value)
        except Invalid as error:
            raise Invalid(f"Field '{name}': {error.message}") from error
    return in_utc(value) if isinstance(value, datetime) else value


def _refuse_huge(name: str, value: object) -> None:
    """Integers beyond 64 bits fit into no database."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Invalid(f"Field '{name}': {str(value)[:30]} is beyond 64 bits.")


@cache
def _arguments(function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(function)
    fields: list[Any] = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    return msgspec.defstruct(
        function.__qualname__.replace(".", "_"),
        fields,
        module=function.__module__,
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=True,
    )
