"""A comparison of the search language as a condition in SQL: numbers, texts, times, attributes."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, func, literal, not_, or_, select, true

from treadle.kernel.errors import Invalid, did_you_mean
from treadle.tracking.language import Compare
from treadle.tracking.model import OWN_STORE
from treadle.tracking.tables import HEAD, run_datasets, runs

ATTRIBUTES: dict[str, ColumnElement[Any]] = {
    "run_id": runs.c.id,
    "run_name": runs.c.name,
    "status": runs.c.status,
    "user_id": runs.c.user,
    "start_time": runs.c.started_at,
    "end_time": runs.c.ended_at,
    "experiment_id": runs.c.experiment,
    "artifact_uri": literal(OWN_STORE)
    .concat(cast(runs.c.experiment, String))
    .concat("/")
    .concat(runs.c.id)
    .concat("/artifacts"),
}
_SAME = {
    "id": "run_id",
    "run id": "run_id",
    "name": "run_name",
    "run name": "run_name",
    "created": "start_time",
    "start time": "start_time",
    "end time": "end_time",
    "started_at": "start_time",
    "ended_at": "end_time",
    "user": "user_id",
    "experiment": "experiment_id",
}
_TIMES = ("start_time", "end_time")


def attribute(key: str) -> str:
    """Return the attribute that a name means.

    Args:
        key: The name, which may be one of several for the attribute.

    Raises:
        Invalid: There is no such attribute; the error names the near miss.
    """
    name = _SAME.get(key.lower(), key.lower())
    if name not in ATTRIBUTES:
        raise Invalid(
            f"A run has no attribute '{key}'.{did_you_mean(key, ATTRIBUTES)} Parameters, metrics "
            f"and tags are params.{key}, metrics.{key} and tags.{key}."
        )
    return name


def attribute_matches(node: Compare) -> ColumnElement[bool]:
    """Return the condition that an attribute of a run satisfies a comparison.

    Args:
        node: The comparison.

    Raises:
        Invalid: A run has no such attribute, or it cannot be compared in this way.
    """
    name = attribute(node.field.key)
    column = ATTRIBUTES[name]
    if node.operator in ("IS NULL", "IS NOT NULL"):
        return column.is_(None) if node.operator == "IS NULL" else column.is_not(None)
    if name in _TIMES:
        node = _changed(node, _moment)
        return (
            func.coalesce(_ordered(column, node), literal(False))
            if name == "end_time"
            else _ordered(column, node)
        )
    if name == "experiment_id":
        return _ordered(column, _changed(node, _whole))
    if name == "status":
        node = _changed(node, lambda value: str(value).lower())
    return text_matches(column, node)


def dataset_matches(node: Compare) -> ColumnElement[bool]:
    """Return the condition that a run has read a dataset that satisfies a comparison.

    Args:
        node: The comparison.

    Raises:
        Invalid: A dataset has no such field, or it cannot be compared in this way.
    """
    columns = {
        "name": run_datasets.c.name,
        "digest": run_datasets.c.digest,
        "context": run_datasets.c.context,
    }
    if node.field.key not in columns:
        raise Invalid(
            f"A dataset has no '{node.field.key}'.{did_you_mean(node.field.key, columns)}"
        )
    there = select(run_datasets.c.run)
    if node.operator in ("IS NULL", "IS NOT NULL"):
        return (
            runs.c.number.not_in(there) if node.operator == "IS NULL" else runs.c.number.in_(there)
        )
    return runs.c.number.in_(there.where(text_matches(columns[node.field.key], node)))


def number_matches(column: ColumnElement[Any], node: Compare) -> ColumnElement[bool]:
    """Return the condition that a column of numbers satisfies a comparison.

    Args:
        column: The column; NULL is NaN in it.
        node: The comparison.

    Raises:
        Invalid: The comparison is one for texts.
    """
    if "LIKE" in node.operator:
        raise Invalid(f"'metrics.{node.field.key}' is a number, and {node.operator} is for texts.")
    values = node.value if isinstance(node.value, list) else [node.value]
    if node.value is not None and any(isinstance(value, str) for value in values):
        raise Invalid(
            f"'metrics.{node.field.key}' is a number, and is compared with one, not with "
            f"{node.value!r}."
        )
    if node.value is None:
        return true()
    compared = _ordered(column, _changed(node, _float))
    if node.operator in ("!=", "NOT IN"):  # NULL is NaN here, which differs from every number
        return or_(column.is_(None), compared)
    return and_(column.is_not(None), compared)


def text_matches(
    column: ColumnElement[Any], node: Compare, head: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """Return the condition that a column of texts satisfies a comparison.

    Args:
        column: The column.
        node: The comparison.
        head: The column that holds the beginning of each text, by which an index finds it.

    Raises:
        Invalid: The comparison is one for numbers.
    """
    if node.value is None:
        return true()
    node = _changed(node, lambda value: str(value).replace("\0", ""))
    if node.operator in ("<", "<=", ">", ">="):
        raise Invalid(
            f"'{node.field.key}' is a text: compare it with = != IN LIKE ILIKE, not with "
            f"{node.operator}."
        )
    if "LIKE" in node.operator:
        pattern = node.value.replace("\\", "\\\\")
        found = (
            column.ilike(pattern, escape="\\")
            if "ILIKE" in node.operator
            else column.like(pattern, escape="\\")
        )
        return not_(found) if node.operator.startswith("NOT") else found
    if node.operator == "=" and head is not None:
        return and_(head == node.value[:HEAD], column == node.value)
    return _ordered(column, node)


def _ordered(column: ColumnElement[Any], node: Compare) -> ColumnElement[bool]:
    operations: dict[str, Any] = {
        "=": column.__eq__,
        "!=": column.__ne__,
        "<": column.__lt__,
        "<=": column.__le__,
        ">": column.__gt__,
        ">=": column.__ge__,
        "IN": column.in_,
        "NOT IN": column.not_in,
    }
    if node.operator not in operations:
        raise Invalid(f"'{node.field.key}' cannot be compared with {node.operator}.")
    found: ColumnElement[bool] = operations[node.operator](node.value)
    return found


def _changed(node: Compare, change: Any) -> Compare:
    value = (
        [change(one) for one in node.value] if isinstance(node.value, list) else change(node.value)
    )
    return Compare(field=node.field, operator=node.operator, value=value, place=node.place)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise Invalid(f"{str(value)[:30]}… is beyond what a number can be.") from error


def _whole(value: Any) -> int:
    try:
        return min(max(int(value), -1), 2**31 - 1)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"'{value}' is no number of an experiment.") from error


def _moment(value: Any) -> datetime:
    """Milliseconds since 1970, or an ISO date."""
    try:
        if isinstance(value, str) and not value.lstrip("-").isdigit():
            found = datetime.fromisoformat(value)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        return datetime.fromtimestamp(float(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Invalid(
            f"'{value}' is no time: write milliseconds since 1970, or a date such as '2026-11-20'."
        ) from error
