"""Reads and writes JSON so that numbers keep their digits."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from treadle.kernel.errors import Invalid


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("an object in it has a name twice, and one of the values would be lost")
    return found


_DECODER = json.JSONDecoder(parse_float=Decimal, object_pairs_hook=_object)


def json_value(content: bytes) -> Any:
    """Decode JSON; numbers with a fraction or an exponent become decimals.

    Args:
        content: JSON, also with NaN and infinities.

    Raises:
        Invalid: It is no JSON, nested too deep, or an object has a name twice.
    """
    try:
        return _DECODER.decode(content.decode(json.detect_encoding(content), "surrogatepass"))
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise Invalid(f"it is no JSON: {error}") from error


def json_text(value: Any, indent: int | None = None) -> bytes:
    """Encode a value as JSON in ASCII.

    Args:
        value: What ``json_value`` gave, or a part of it.
        indent: Blanks for each level; None writes one line.
    """
    try:
        return json.dumps(value, indent=indent).encode()
    except TypeError:  # there are decimals
        return "".join(_written(value, indent, "\n")).encode()


def _written(value: Any, indent: int | None, line: str) -> Iterator[str]:
    """Write JSON as the standard library does, with numbers that keep their digits."""
    if isinstance(value, Decimal):
        yield str(value)
        return
    if not isinstance(value, dict | list) or not value:
        yield json.dumps(value)
        return
    inner = line if indent is None else line + " " * indent
    first, following, last = ("", ", ", "") if indent is None else (inner, f",{inner}", line)
    start, end = "{}" if isinstance(value, dict) else "[]"
    yield start
    is_list = isinstance(value, list)
    for place, (key, item) in enumerate(
        value.items() if isinstance(value, dict) else enumerate(value)
    ):
        yield following if place else first
        if not is_list:
            yield f"{json.dumps(key)}: "
        yield from _written(item, indent, inner)
    yield last + end
