"""Applies the search language to things in memory: which satisfy a filter, and in what order."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from treadle.kernel.errors import Invalid
from treadle.tracking.language import (
    Compare,
    Every,
    Field,
    Node,
    Not,
    Order,
    Some,
    parse,
    parse_orders,
)


def matches(node: Node | None, look: Callable[[Field], Any]) -> bool:
    """Whether a thing satisfies a filter.

    A comparison with what is not there is false, as is one with NaN unless it asks for a
    difference; NOT turns false into true.

    Args:
        node: The filter as ``parse`` gives it; None is satisfied by everything.
        look: Gives the thing's value of a field: a number, a text, a list of them (one that
            satisfies is enough), or None.
    """
    if node is None:
        return True
    if isinstance(node, Every):
        return all(matches(part, look) for part in node.parts)
    if isinstance(node, Some):
        return any(matches(part, look) for part in node.parts)
    if isinstance(node, Not):
        return not matches(node.part, look)
    value = look(node.field)
    if isinstance(value, list):
        return any(compares(one, node.operator, node.value) for one in value)
    return compares(value, node.operator, node.value)


def equalities(node: Node | None) -> dict[str, str]:
    """The texts that attributes of a thing must equal for it to satisfy a filter, by attribute.

    A database that looks for these reads little of what does not satisfy the filter.

    Args:
        node: The filter as ``parse`` gives it.

    Returns:
        What the filter demands outright; nothing of what stands below OR or NOT.
    """
    if isinstance(node, Every):
        return {key: text for part in node.parts for key, text in equalities(part).items()}
    if isinstance(node, Compare) and node.operator == "=" and node.field.kind == "attribute":
        return {node.field.key: str(node.value)}
    return {}


def compares(value: Any, operator: str, wanted: Any) -> bool:
    """Whether a value stands in a relation to what a filter names.

    Args:
        value: The thing's value: a number, a text, or None where it has none.
        operator: Such as ``=``, ``NOT IN`` or ``IS NULL``.
        wanted: What the filter names: a number, a text, a list of them for IN, None for IS NULL.
    """
    if operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (operator == "IS NULL")
    if value is None:
        return False
    if value != value:  # NaN differs from every number, and compares with none
        return operator in ("!=", "NOT IN")
    if isinstance(value, str):
        wanted = [str(one) for one in wanted] if isinstance(wanted, list) else str(wanted)
    elif isinstance(wanted, str):
        return False
    if operator in ("=", "!="):
        return bool((value == wanted) == (operator == "="))
    if operator in ("IN", "NOT IN"):
        return (value in wanted) == (operator == "IN")
    if "LIKE" in operator:
        return like(value, wanted, ignoring_case="ILIKE" in operator) != operator.startswith("NOT")
    return bool(
        {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[
            operator
        ]
    )


def like(value: str, pattern: str, *, ignoring_case: bool) -> bool:
    """Whether a text fits a pattern of SQL's LIKE: ``%`` is any text, ``_`` one character.

    Args:
        value: The text.
        pattern: The pattern, which must cover all of the text.
        ignoring_case: Whether upper and lower case are the same, as for ILIKE.
    """
    if ignoring_case:
        value, pattern = value.lower(), pattern.lower()
    first, *others = pattern.split("%")
    if not others:
        return len(value) == len(first) and _stands_at(value, first, 0)
    *middle, last = others
    end = len(value) - len(last)
    place = len(first)
    if place > end or not _stands_at(value, first, 0) or not _stands_at(value, last, end):
        return False
    for part in middle:
        place = _after(value, part, place, end)
        if place < 0:
            return False
    return True


def _after(value: str, part: str, start: int, end: int) -> int:
    """Where the first occurrence of a part without ``%`` within a text ends; -1 without one."""
    if "_" not in part:
        place = value.find(part, start, end)
        return -1 if place < 0 else place + len(part)
    # One bit for each beginning of the part that the letters read so far end with.
    accepts = dict.fromkeys(part, 0)
    for index, letter in enumerate(part):
        accepts[letter] |= 1 << index
    anything, whole, state = accepts["_"], 1 << (len(part) - 1), 0
    for place in range(start, end):
        state = (state << 1 | 1) & (accepts.get(value[place], 0) | anything)
        if state & whole:
            return place + 1
    return -1


def _stands_at(value: str, part: str, place: int) -> bool:
    """Whether a part without ``%`` stands at a place of a text that is long enough."""
    if "_" not in part:
        return value.startswith(part, place)
    letters = value[place : place + len(part)]
    return all(one in ("_", letter) for one, letter in zip(part, letters, strict=True))


def found_in(
    things: Sequence[Any], filter: str, orders: Sequence[str], look: Callable[[Any, Field], Any]
) -> list[Any]:
    """The things that satisfy a filter, in the given orders.

    It looks at each thing, so it is for what is few.

    Args:
        things: What is searched.
        filter: Condition in the search language; empty for all.
        orders: Fields to sort by, such as ``name DESC``, the first the most important.
        look: Gives a thing's value of a field, as in ``matches``.

    Raises:
        Invalid: The filter or an order cannot be read.
    """
    node, wanted = parse(filter), parse_orders(orders)
    return in_order(
        [thing for thing in things if matches(node, partial(look, thing))], wanted, look
    )


def in_order(
    things: Sequence[Any], orders: Sequence[Order], look: Callable[[Any, Field], Any]
) -> list[Any]:
    """Things sorted by several orders; NaN and then what has no value come last either way.

    Args:
        things: What is sorted; what is equal in all orders stays in its order.
        orders: The orders, the first the most important.
        look: Gives a thing's value of a field.

    Raises:
        Invalid: A thing has several values of a field.
    """
    found = list(things)
    for order in reversed(orders):
        values = [(look(thing, order.field), thing) for thing in found]
        if any(isinstance(value, list) for value, _ in values):
            name = f"{order.field.kind}.{order.field.key}"
            raise Invalid(f"Nothing is ordered by '{name}', of which one thing can have several.")
        there = [(value, thing) for value, thing in values if value is not None and value == value]
        there.sort(key=itemgetter(0), reverse=order.descending)
        nan = [thing for value, thing in values if value is not None and value != value]
        found = (
            [thing for _, thing in there]
            + nan
            + [thing for value, thing in values if value is None]
        )
    return found
