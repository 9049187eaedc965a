"""The one place that knows the wire library: frozen values, strict at the edge, with errors that name the field."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

import msgspec

from treadle.kernel.errors import Invalid, did_you_mean

T = TypeVar("T")
LONGEST_MESSAGE = 500


if (
    TYPE_CHECKING
):  # type checkers do not see that subclasses of a frozen struct are frozen, so they are told

    @dataclass_transform(
        frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,)
    )
    class Entity:
        """A frozen value with named, typed fields; unknown fields are refused when it is read from outside."""

        __struct_fields__: ClassVar[tuple[str, ...]]

else:

    class Entity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """A frozen value with named, typed fields; unknown fields are refused when it is read from outside."""


def to_json(value: object) -> bytes:
    """Canonical JSON: the same value always gives the same bytes."""
    return msgspec.json.encode(value, order="deterministic")


def to_text(value: object) -> str:
    return to_json(value).decode()


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode JSON into ``kind``. Raises Invalid naming the field, and the near miss when there is one."""
    with reading(kind):
        return msgspec.json.decode(data, type=kind)


def to_packed(value: object) -> bytes:
    """MessagePack: what machines exchange, since it keeps NaN, infinities, moments and bytes as they are."""
    return msgspec.msgpack.encode(value)


def from_packed(data: bytes, kind: type[T]) -> T:
    """Decode MessagePack into ``kind``. Raises Invalid naming the field."""
    with reading(kind):
        return msgspec.msgpack.decode(data, type=kind)


@contextmanager
def reading(kind: object) -> Iterator[None]:
    """Whatever goes wrong while JSON is decoded into ``kind`` within this block is Invalid, and names the field."""
    try:
        yield
    except msgspec.DecodeError as error:
        raise Invalid(explain(error, kind)) from error
    except UnicodeDecodeError as error:
        raise Invalid(f"The text is not UTF-8 at byte {error.start}.") from error
    except RecursionError as error:
        raise Invalid("The JSON is nested too deeply.") from error


def from_plain(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Convert plain dicts, lists and scalars into ``kind``. ``strict=False`` also reads numbers out of text."""
    try:
        return msgspec.convert(value, type=kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Invalid(explain(error, kind)) from error


def to_plain(value: object) -> Any:
    return msgspec.to_builtins(value)


def replace(value: T, **changes: object) -> T:
    return msgspec.structs.replace(value, **changes)  # type: ignore[type-var]


def fields(value: Entity) -> dict[str, Any]:
    """A value's fields by name, as they are."""
    return {name: getattr(value, name) for name in value.__struct_fields__}


def explain(error: Exception, kind: object) -> str:
    """Turn the library's message into a sentence about a field, with the near miss for an unknown one."""
    text, path = _split(_shortened(str(error)))
    unknown = re.search(r"unknown field `(.+?)`", text)
    owner = _type_at(kind, path)
    if unknown:
        return f"Unknown field '{join(path, unknown[1])}'.{did_you_mean(unknown[1], _field_names(owner))}"
    absent = re.search(r"missing required field `(.+?)`", text)
    if absent:
        return f"Field '{join(path, absent[1])}' is missing."
    choice = re.fullmatch(r"Invalid enum value '(.*)'", text)
    known = [str(value) for value in _choices(owner)]
    if choice and known:
        return f"Field '{path}': there is no '{choice[1]}'.{did_you_mean(choice[1], known)}"
    return f"Field '{path}': {text}." if path else f"{text}."


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _split(text: str) -> tuple[str, str]:
    message, found, path = text.rpartition(" - at `")
    return (message, path.rstrip("`").removeprefix("$").removeprefix(".")) if found else (text, "")


def _shortened(text: str) -> str:
    """A message that repeats what was sent repeats only its beginning and end."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:300]} … {text[-100:]}"


def _type_at(kind: Any, path: str) -> Any:
    """The type that ``path`` (such as ``steps[2].name``) leads to, as far as it can be followed."""
    for name in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        arguments = [a for a in getattr(kind, "__args__", ()) if a is not type(None)]
        if name.startswith("["):
            kind = arguments[-1] if arguments else None
            continue
        kind = next(
            (a for a in arguments if isinstance(a, type) and issubclass(a, msgspec.Struct)), kind
        )
        try:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}.get(name)
        except TypeError:
            return None
    return kind


def _choices(kind: Any) -> list[object]:
    """The values of a Literal, also inside a union."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [
        value for part in get_args(kind) if get_origin(part) is Literal for value in get_args(part)
    ]


def _field_names(kind: Any) -> tuple[str, ...]:
    candidates = [kind, *getattr(kind, "__args__", ())]
    return next(
        (c.__struct_encode_fields__ for c in candidates if hasattr(c, "__struct_encode_fields__")),
        (),
    )
