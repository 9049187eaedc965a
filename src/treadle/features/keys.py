"""Keys of entities as text: the same from a file, from Python and from a command line."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name

_SEPARATOR = "\x1f"
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED = {"s": _SEPARATOR}
_NOBODY = "\x00"
"""Stands for a missing key, which no stored entity has."""
_FLOATS = ("FLOAT", "DOUBLE")
_SIZES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
_WHOLE = (*_SIZES, *(f"U{size}" for size in _SIZES), "HUGEINT")


def key_sql(column: str, kind: str, table: str = "f") -> str:
    """Write a column's value as text, in SQL: ``7``, ``7.0`` and ``"7"`` are the same key.

    Args:
        column: Name of the column.
        kind: DuckDB's type of the column.
        table: Alias of its table.
    """
    name = f"{table}.{sql_name(column)}"
    if kind in _FLOATS:
        return (
            f"CASE WHEN {name} = trunc({name}) AND abs({name}) < 1e15 "
            f"THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
        )
    return name if kind == "VARCHAR" else f"{name}::VARCHAR"


def alike(one: str, other: str) -> bool:
    """Whether columns of two types can be compared as they are.

    Args:
        one: DuckDB's type of a column.
        other: That of another.
    """
    return one == other or (one in _WHOLE and other in _WHOLE)


def texts_of(view: str, keys: Sequence[str], entities: Iterable[Any]) -> list[str]:
    """Write the keys of some entities as one text each.

    Args:
        view: Name of the view, for messages.
        keys: The view's keys.
        entities: Values by key; or the value itself where there is one key.

    Returns:
        The texts; one that no stored entity has where a key is missing.

    Raises:
        Invalid: An entity lacks a key.
    """
    if len(keys) == 1:
        (key,) = keys
        values = [one if type(one) is str else _picked(view, keys, one, key) for one in entities]
        return [one if type(one) is str else _text(one) for one in values]
    return [joined(_text(_picked(view, keys, one, key)) for key in keys) for one in entities]


def parts_of(text: str) -> list[str]:
    """Take the text of several keys apart.

    Args:
        text: What ``joined`` returned.
    """
    parts = text.split(_SEPARATOR)
    return [_ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), one) for one in parts]


def joined(texts: Iterable[str]) -> str:
    """Put the texts of several keys into one.

    Args:
        texts: The texts, in the order of the view's keys.
    """
    return _SEPARATOR.join(
        text.replace("\\", "\\\\").replace(_SEPARATOR, "\\s") if _is_odd(text) else text
        for text in texts
    )


def _picked(view: str, keys: Sequence[str], entity: Any, key: str) -> Any:
    """The value of one of a view's keys in an entity."""
    if type(entity) is not dict and not isinstance(entity, Mapping):
        if len(keys) != 1:
            raise Invalid(
                f"View '{view}' has the keys {', '.join(keys) or '(none)'}. "
                "Give each entity as values by key."
            )
        return entity
    if key not in entity:
        raise Invalid(
            f"View '{view}' is asked by {', '.join(keys)}, and an entity has no '{key}'. "
            f"It has: {', '.join(map(str, entity)) or 'nothing'}."
        )
    return entity[key]


def _text(value: Any) -> str:
    if value is None or value != value:
        return _NOBODY
    if type(value).__name__ in ("bool", "bool_"):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _is_odd(text: str) -> bool:
    return "\\" in text or _SEPARATOR in text
