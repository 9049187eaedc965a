"""The search language over runs, as SQL.

It reads indexed key/value tables, one page at a time from where the last one ended.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.sql.selectable import FromClause

from treadle.kernel.entity import from_packed, to_packed
from treadle.kernel.errors import Invalid, TreadleError, did_you_mean
from treadle.tracking.language import Compare, Every, Field, Node, Not, Order, Some
from treadle.tracking.tables import HEAD, run_datasets, run_metrics, run_params, run_tags, runs

View = Literal["active", "deleted", "all"]

ATTRIBUTES: dict[str, ColumnElement[Any]] = {
    "run_id": runs.c.id,
    "run_name": runs.c.name,
    "status": runs.c.status,
    "user_id": runs.c.user,
    "start_time": runs.c.started_at,
    "end_time": runs.c.ended_at,
    "experiment_id": runs.c.experiment,
    "artifact_uri": literal("mlflow-artifacts:/")
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
FEW = 5_000
"""Rows that a condition may match to be worth a list; beyond that a page is sooner filled by
looking run by run.
"""
_TIMES = ("start_time", "end_time")
_STATS = {"min": run_metrics.c.low, "max": run_metrics.c.high, "last": run_metrics.c.last}


def attribute(key: str) -> str:
    """The attribute that a name means.

    Args:
        key: The name, in any case; old names are known too.

    Raises:
        Invalid: A run has no such attribute; the message says the near miss.
    """
    name = _SAME.get(key.lower(), key.lower())
    if name not in ATTRIBUTES:
        raise Invalid(
            f"A run has no attribute '{key}'.{did_you_mean(key, ATTRIBUTES)} Parameters, metrics "
            f"and tags are params.{key}, metrics.{key} and tags.{key}."
        )
    return name


class Search:
    """One search over the runs of some experiments."""

    def __init__(
        self, connection: Connection, experiments: Sequence[int], view: View = "active"
    ) -> None:
        self._connection, self._experiments, self._view = connection, list(experiments), view

    def page(
        self, node: Node | None, orders: Sequence[Order], limit: int, token: str
    ) -> tuple[list[Any], str]:
        """The rows of ``runs`` on a page.

        Args:
            node: The filter, None for all runs.
            orders: What to sort by, the most important first.
            limit: The most rows.
            token: Token that the page before gave; empty for the first page.

        Returns:
            The rows, and the token of the next page, which is empty on the last.

        Raises:
            Invalid: The token is none of a search with this order, or a field cannot be searched.
        """
        terms = _Terms(self, orders)
        start = _read(token, terms) if token else None
        kept = [self._scope(), *([] if node is None else [self.where(node)])]
        rows: list[Any] = []
        for phase in terms.phases:
            if start is not None and phase < start[0]:
                continue
            after = start[1] if start is not None and start[0] == phase else None
            wanted = terms.query(phase, after).where(*kept).limit(limit + 1 - len(rows))
            rows += [(phase, row) for row in self._connection.execute(wanted)]
            if len(rows) > limit:
                phase_of_last, last = rows[limit - 1]
                return [row for _, row in rows[:limit]], _token(phase_of_last, last, terms)
        return [row for _, row in rows], ""

    def _scope(self) -> ColumnElement[bool]:
        mine = (
            runs.c.experiment.in_(self._experiments)
            if len(self._experiments) != 1
            else runs.c.experiment == self._experiments[0]
        )
        shown = {
            "active": runs.c.deleted_at.is_(None),
            "deleted": runs.c.deleted_at.is_not(None),
            "all": true(),
        }
        return and_(mine, shown[self._view])

    def where(self, node: Node) -> ColumnElement[bool]:
        """A filter as a condition on ``runs``. Every part is true or false, never unknown.

        Args:
            node: The filter.

        Raises:
            Invalid: A field cannot be searched, or not with its operator or value.
        """
        if isinstance(node, Every):
            return and_(*map(self.where, node.parts))
        if isinstance(node, Some):
            return or_(*map(self.where, node.parts))
        if isinstance(node, Not):
            return not_(self.where(node.part))
        try:
            return self._compared(node)
        except Invalid as error:
            raise Invalid(
                f"Cannot read the filter at character {node.place + 1}: {error.message}"
            ) from error

    def _compared(self, node: Compare) -> ColumnElement[bool]:
        if node.field.kind == "attribute":
            return self._attribute(node)
        if node.field.kind == "dataset":
            return self._dataset(node)
        if node.field.kind == "metadata":
            raise Invalid("Runs have no metadata to search; traces have. Use params or tags.")
        if node.field.kind == "metric":
            key, column = self.metric(node.field)
            return self._has(run_metrics, key, node, _number_matches(column, node))
        table = run_params if node.field.kind == "param" else run_tags
        return self._has(
            table, node.field.key, node, _text_matches(table.c.value, node, table.c.head)
        )

    def _has(
        self, table: Table, key: str, node: Compare, condition: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        """Whether a run has a row that satisfies a condition.

        It is found by index where few do, else looked up run by run.
        """
        if node.operator == "IS NULL":
            return not_(_each(table, key, true()))
        mine = (table.c.experiment.in_(self._experiments), table.c.key == key, condition)
        there = select(table.c.run).where(*mine)
        counted = select(func.count()).select_from(there.limit(FEW + 1).subquery())
        few = (self._connection.scalar(counted) or 0) <= FEW
        return runs.c.number.in_(there) if few else _each(table, key, condition)

    def metric(self, field: Field) -> tuple[str, ColumnElement[Any]]:
        """The key and the column of a metric's field.

        ``loss.min`` is an extreme unless a metric has that very name.

        Args:
            field: The field, of kind metric.
        """
        key, dot, stat = field.key.rpartition(".")
        if not dot or field.quoted or stat not in _STATS or self._is_key(field.key):
            return field.key, run_metrics.c.last
        return key, _STATS[stat]

    def _is_key(self, key: str) -> bool:
        mine = run_metrics.c.experiment.in_(self._experiments) & (run_metrics.c.key == key)
        return (
            self._connection.execute(select(run_metrics.c.run).where(mine).limit(1)).first()
            is not None
        )

    def _attribute(self, node: Compare) -> ColumnElement[bool]:
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
        return _text_matches(column, node)

    def _dataset(self, node: Compare) -> ColumnElement[bool]:
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
                runs.c.number.not_in(there)
                if node.operator == "IS NULL"
                else runs.c.number.in_(there)
            )
        return runs.c.number.in_(there.where(_text_matches(columns[node.field.key], node)))


def _each(table: Table, key: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return (
        select(table.c.run)
        .where(table.c.run == runs.c.number, table.c.key == key, condition)
        .exists()
    )


def _number_matches(column: ColumnElement[Any], node: Compare) -> ColumnElement[bool]:
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


def _text_matches(
    column: ColumnElement[Any], node: Compare, head: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
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


class _Terms:
    """What pages are ordered by.

    Ordered by a metric first, pages come in phases, so that an index gives the order: runs that
    have a value, then those whose value is NaN, then those without.
    """

    def __init__(self, search: Search, orders: Sequence[Order]) -> None:
        self._search = search
        self._joins: list[tuple[FromClause, ColumnElement[bool]]] = []
        self._terms: list[tuple[ColumnElement[Any], bool]] = []
        self._lead: tuple[FromClause, str, ColumnElement[Any], bool] | None = None
        for place, order in enumerate(orders):
            self._add(order, first=place == 0)
        self._terms += [(runs.c.started_at, True), (runs.c.id, False)]

    @property
    def phases(self) -> tuple[int, ...]:
        return (0, 1, 2) if self._lead else (0,)

    def _add(self, order: Order, *, first: bool) -> None:
        field = order.field
        if field.kind == "attribute":
            column = ATTRIBUTES[attribute(field.key)]
            if column is runs.c.ended_at:
                self._terms.append((case((column.is_(None), 1), else_=0), False))
            self._terms.append((column, order.descending))
            return
        if field.kind in ("dataset", "metadata"):
            raise Invalid(f"Runs cannot be ordered by {field.kind}.")
        if field.kind == "metric":
            key, stat = self._search.metric(field)
            table = run_metrics.alias()
            column = table.c[str(stat.key)]
            if first and column.key == "last":
                self._lead = (table, key, column, order.descending)
                return
            rank: Any = case((table.c.run.is_(None), 2), (column.is_(None), 1), else_=0)
        else:
            table = (run_params if field.kind == "param" else run_tags).alias()
            key, column = field.key, table.c.value
            rank = case((table.c.run.is_(None), 1), else_=0)
        self._joins.append((table, and_(table.c.run == runs.c.number, table.c.key == key)))
        self._terms += [(rank, False), (column, order.descending)]

    def terms(self, phase: int) -> list[tuple[ColumnElement[Any], bool]]:
        lead = [(self._lead[2], self._lead[3])] if self._lead and phase == 0 else []
        return lead + self._terms

    def query(self, phase: int, after: list[Any] | None) -> Select[Any]:
        terms = self.terms(phase)
        source: FromClause = runs
        conditions: list[ColumnElement[bool]] = []
        if self._lead:
            table, key, column, descending = self._lead
            here = and_(
                table.c.run == runs.c.number,
                table.c.key == key,
                table.c.experiment.in_(self._search._experiments),
            )
            if phase < 2:
                source = source.join(table, here)
                conditions.append(column.is_not(None) if phase == 0 else column.is_(None))
                if (
                    phase == 0 and after is not None
                ):  # said twice, so that the index is entered where the page begins
                    conditions.append(column <= after[0] if descending else column >= after[0])
            else:
                conditions.append(~select(table.c.run).where(here).exists())
        for joined, on in self._joins:
            source = source.outerjoin(joined, on)
        if after is not None:
            conditions.append(_after(terms, after))
        columns = [term.label(f"k{place}") for place, (term, _) in enumerate(terms)]
        ordered = [term.desc() if descending else term.asc() for term, descending in terms]
        return select(runs, *columns).select_from(source).where(*conditions).order_by(*ordered)


def _after(
    terms: Sequence[tuple[ColumnElement[Any], bool]], values: Sequence[Any]
) -> ColumnElement[bool]:
    """What comes after a row in an order of several terms.

    A None is only met where the term before it ranks it.
    """
    (term, descending), value = terms[0], values[0]
    if value is None:
        return _after(terms[1:], values[1:])
    beyond: ColumnElement[bool] = term < value if descending else term > value
    if len(terms) == 1:
        return beyond
    return or_(beyond, and_(term == value, _after(terms[1:], values[1:])))


def _token(phase: int, row: Any, terms: _Terms) -> str:
    values = [getattr(row, f"k{place}") for place in range(len(terms.terms(phase)))]
    return base64.urlsafe_b64encode(to_packed([phase, values])).decode()


def _read(token: str, terms: _Terms) -> tuple[int, list[Any]]:
    try:
        phase, values = from_packed(base64.urlsafe_b64decode(token), tuple[int, list[Any]])
        if phase not in terms.phases or len(values) != len(terms.terms(phase)):
            raise ValueError("another order")
        return phase, values
    except (ValueError, TreadleError) as error:
        raise Invalid(
            "Field 'page_token': this is no token of a search with this order. Search from the "
            "first page."
        ) from error
