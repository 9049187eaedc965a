"""An operation is one typed method: a Python call, an HTTP route, an OpenAPI entry and a remote-client method at once."""

import inspect
import types
import typing
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar

import msgspec

from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid

Role = Literal["viewer", "editor", "approver", "admin"]
F = TypeVar("F", bound=Callable[..., Any])

ROLES: tuple[Role, ...] = (
    "viewer",
    "editor",
    "approver",
    "admin",
)  # each may do all that those before it may


class Operation:
    """What a marked method says of itself: the only place where the operation is described."""

    def __init__(
        self,
        function: Callable[..., Any],
        kind: Literal["command", "query"],
        role: Role,
        everywhere: bool,
    ) -> None:
        self.function, self.kind, self.role, self.everywhere = function, kind, role, everywhere
        self.name = function.__name__
        self.doc = inspect.getdoc(function) or ""

    @property
    def method(self) -> str:
        return "POST" if self.kind == "command" else "GET"

    @property
    def parameters(self) -> type[msgspec.Struct]:
        """A strict struct of the method's parameters, built once from its signature."""
        return _parameters(self.function)

    @property
    def result(self) -> Any:
        return typing.get_type_hints(self.function).get("return", None)

    def takes_text(self, name: str) -> bool:
        """Whether a parameter is text, or text or nothing."""
        kind = typing.get_type_hints(self.function).get(name, str)
        either = (
            typing.get_args(kind)
            if typing.get_origin(kind) in (typing.Union, types.UnionType)
            else ()
        )
        return kind is str or (str in either and not any(map(typing.get_args, either)))

    def bind(self, given: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """Check and convert plain arguments. Raises Invalid naming the field and the near miss."""
        struct = from_plain(given, self.parameters, strict=strict)
        for name in struct.__struct_fields__:
            _refuse_huge(name, getattr(struct, name))
        return {name: getattr(struct, name) for name in struct.__struct_fields__}


def command(*, role: Role = "editor", everywhere: bool = False) -> Callable[[F], F]:
    """Mark a method that changes something. ``everywhere``: the role in one project is not enough, whatever is named."""
    return _mark("command", role, everywhere)


def query(*, role: Role = "viewer", everywhere: bool = False) -> Callable[[F], F]:
    """Mark a method that only looks. ``everywhere``: the role in one project is not enough, whatever is named."""
    return _mark("query", role, everywhere)


def _mark(kind: Literal["command", "query"], role: Role, everywhere: bool) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        function.__operation__ = Operation(function, kind, role, everywhere)  # type: ignore[attr-defined]
        return function

    return decorate


@cache
def operations(service: type) -> dict[str, Operation]:
    """The marked methods of a service class by name, in the order they are written."""
    members = (getattr(value, "__operation__", None) for value in vars(service).values())
    return {member.name: member for member in members if member is not None}


def _refuse_huge(name: str, value: object) -> None:
    """Integers beyond 64 bits fit into no database."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Invalid(f"Field '{name}': {str(value)[:30]} is beyond 64 bits.")


@cache
def _parameters(function: Callable[..., Any]) -> type[msgspec.Struct]:
    hints = typing.get_type_hints(function)
    fields: list[Any] = []
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if parameter.default is inspect.Parameter.empty:
            fields.append((name, hints[name]))
        else:
            fields.append((name, hints[name], parameter.default))
    name = function.__qualname__.replace(".", "_")
    return msgspec.defstruct(
        name,
        fields,
        module=function.__module__,
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=True,
    )
