"""Frozen values and their encodings; the only module that knows the wire library.

Decoding is strict, and its errors name the field.
"""

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
"""Characters of the wire library's message above which only its beginning and end are kept."""

# Type checkers do not know that subclasses of a frozen struct are frozen, hence the two classes.
if TYPE_CHECKING:

    @dataclass_transform(
        frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,)
    )
    class Entity:
        """A frozen value with named, typed fields. Decoding one refuses unknown fields."""

        __struct_fields__: ClassVar[tuple[str, ...]]

        def __init_subclass__(cls, *, omit_defaults: bool = False) -> None: ...

else:

    class Entity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """A frozen value with named, typed fields. Decoding one refuses unknown fields."""


def to_json(value: object) -> bytes:
    """Encode a value as canonical JSON: equal values give equal bytes.

    Args:
        value: Entity or plain value.
    """
    return msgspec.json.encode(value, order="deterministic")


def to_text(value: object) -> str:
    """Encode a value as canonical JSON text.

    Args:
        value: Entity or plain value.
    """
    return to_json(value).decode()


def from_json(data: bytes | str, kind: type[T]) -> T:
    """Decode JSON.

    Args:
        data: JSON text.
        kind: Type of the value.

    Raises:
        Invalid: The data do not fit the type; the error names the field and suggests the near miss.
    """
    with reading(kind):
        return msgspec.json.decode(data, type=kind)


def to_packed(value: object) -> bytes:
    """Encode a value as MessagePack, which keeps NaN, infinities, times and bytes as they are.

    Args:
        value: Entity or plain value.
    """
    return msgspec.msgpack.encode(value)


def from_packed(data: bytes, kind: type[T]) -> T:
    """Decode MessagePack.

    Args:
        data: Encoded value.
        kind: Type of the value.

    Raises:
        Invalid: The data do not fit the type; the error names the field.
    """
    with reading(kind):
        return msgspec.msgpack.decode(data, type=kind)


@contextmanager
def reading(kind: object) -> Iterator[None]:
    """Turn errors of decoding within this block into Invalid.

    Args:
        kind: Type that the block decodes into.

    Raises:
        Invalid: The data are malformed or do not fit the type; the error names the field.
    """
    try:
        yield
    except msgspec.DecodeError as error:
        raise Invalid(explain(error, kind)) from error
    except UnicodeDecodeError as error:
        raise Invalid(f"The text is not UTF-8 at byte {error.start}.") from error
    except RecursionError as error:
        raise Invalid("The JSON is nested too deeply.") from error


def from_plain(value: object, kind: type[T], *, strict: bool = True) -> T:
    """Convert plain dicts, lists and scalars.

    Args:
        value: Plain value.
        kind: Type of the result.
        strict: Whether to refuse text where a number or another scalar is expected.

    Raises:
        Invalid: The value does not fit the type; the error names the field.
    """
    try:
        return msgspec.convert(value, type=kind, strict=strict)
    except msgspec.ValidationError as error:
        raise Invalid(explain(error, kind)) from error


def to_plain(value: object) -> Any:
    """Convert an entity to plain dicts, lists and scalars.

    Args:
        value: Entity or plain value.
    """
    return msgspec.to_builtins(value)


def replace(value: T, **changes: object) -> T:
    """Copy a frozen value with other values for some of its fields.

    Args:
        value: The value to copy.
        **changes: New values by the name of the field.
    """
    return msgspec.structs.replace(value, **changes)  # type: ignore[type-var]


def fields(value: Entity) -> dict[str, Any]:
    """The fields of a value by name, without conversion.

    Args:
        value: An entity.
    """
    return {name: getattr(value, name) for name in value.__struct_fields__}


def explain(error: Exception, kind: object) -> str:
    """Turn the wire library's error into a sentence about a field.

    Args:
        error: The library's error.
        kind: Type that was decoded into.

    Returns:
        The sentence; for an unknown field or choice it suggests the near miss.
    """
    text, path = _split(_shortened(str(error)))
    unknown = re.search(r"unknown field `(.+?)`", text)
    owner = _type_at(kind, path)
    if unknown:
        hint = did_you_mean(unknown[1], _field_names(owner))
        return f"Unknown field '{join(path, unknown[1])}'.{hint}"
    absent = re.search(r"missing required field `(.+?)`", text)
    if absent:
        return f"Field '{join(path, absent[1])}' is missing."
    choice = re.fullmatch(r"Invalid enum value '(.*)'", text)
    known = [str(value) for value in _choices(owner)]
    if choice and known:
        return f"Field '{path}': there is no '{choice[1]}'.{did_you_mean(choice[1], known)}"
    return f"Field '{path}': {text}." if path else f"{text}."


def join(path: str, name: str) -> str:
    """Path of a field: ``PATH.NAME``, or the name alone at the top.

    Args:
        path: Path of the value that holds the field, or ''.
        name: Name of the field.
    """
    return f"{path}.{name}" if path else name


def _split(text: str) -> tuple[str, str]:
    """The wire library's message without its path, and the path."""
    message, separator, path = text.rpartition(" - at `")
    if not separator:
        return text, ""
    return message, path.rstrip("`").removeprefix("$").removeprefix(".")


def _shortened(text: str) -> str:
    """The beginning and end of a long message, which may repeat all that was sent."""
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:300]} … {text[-100:]}"


def _type_at(kind: Any, path: str) -> Any:
    """The type that ``path`` (such as ``steps[2].name``) leads to, as far as it can be followed."""
    for name in re.findall(r"[^.\[\]]+|\[[^\]]*\]", path):
        arguments = [part for part in getattr(kind, "__args__", ()) if part is not type(None)]
        if name.startswith("["):
            kind = arguments[-1] if arguments else None
            continue
        kind = next(filter(_is_struct, arguments), kind)
        try:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}.get(name)
        except TypeError:
            return None
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _choices(kind: Any) -> list[object]:
    """The values of a Literal, also inside a union."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    literals = (part for part in get_args(kind) if get_origin(part) is Literal)
    return [value for literal in literals for value in get_args(literal)]


def _field_names(kind: Any) -> tuple[str, ...]:
    for candidate in (kind, *getattr(kind, "__args__", ())):
        if hasattr(candidate, "__struct_encode_fields__"):
            names: tuple[str, ...] = candidate.__struct_encode_fields__
            return names
    return ()
