"""Pages of runs in any order: each continues from where the last one ended."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, or_, select
from sqlalchemy.sql.selectable import FromClause

from treadle.kernel.entity import from_packed, to_packed
from treadle.kernel.errors import Invalid, TreadleError
from treadle.tracking.language import Field, Order
from treadle.tracking.search_conditions import ATTRIBUTES, attribute
from treadle.tracking.tables import run_metrics, run_params, run_tags, runs


class Terms:
    """What pages are ordered by.

    Ordered by a metric first, pages come in phases, so that an index gives the order: runs that
    have a value, then those whose value is NaN, then those without.

    Args:
        orders: The terms that were asked for.
        experiments: The numbers of the experiments whose runs are searched.
        metric: Returns the key and the column of a metric's field.

    Raises:
        Invalid: Runs cannot be ordered by a term.
    """

    def __init__(
        self,
        orders: Sequence[Order],
        experiments: Sequence[int],
        metric: Callable[[Field], tuple[str, ColumnElement[Any]]],
    ) -> None:
        self._experiments, self._metric = list(experiments), metric
        self._joins: list[tuple[FromClause, ColumnElement[bool]]] = []
        self._terms: list[tuple[ColumnElement[Any], bool]] = []
        self._lead: tuple[FromClause, str, ColumnElement[Any], bool] | None = None
        for place, order in enumerate(orders):
            self._add(order, first=place == 0)
        self._terms += [(runs.c.started_at, True), (runs.c.id, False)]

    @property
    def phases(self) -> tuple[int, ...]:
        """The phases of the pages, in their order."""
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
            key, stat = self._metric(field)
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
        """Return what a phase is ordered by: columns, and whether the largest is first.

        Args:
            phase: The phase.
        """
        lead = [(self._lead[2], self._lead[3])] if self._lead and phase == 0 else []
        return lead + self._terms

    def query(self, phase: int, after: list[Any] | None) -> Select[Any]:
        """Return the query for the rows of a phase.

        Args:
            phase: The phase.
            after: The values of the terms in the row before; None begins the phase.
        """
        terms = self.terms(phase)
        source: FromClause = runs
        conditions: list[ColumnElement[bool]] = []
        if self._lead:
            table, key, column, descending = self._lead
            here = and_(
                table.c.run == runs.c.number,
                table.c.key == key,
                table.c.experiment.in_(self._experiments),
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


def token_after(phase: int, row: Any, terms: Terms) -> str:
    """Return the token of the page that begins after a row.

    Args:
        phase: The row's phase.
        row: The row, as the phase's query gave it.
        terms: What the pages are ordered by.
    """
    values = [getattr(row, f"k{place}") for place in range(len(terms.terms(phase)))]
    return base64.urlsafe_b64encode(to_packed([phase, values])).decode()


def read_token(token: str, terms: Terms) -> tuple[int, list[Any]]:
    """Return the phase and the values that a page begins after.

    Args:
        token: The page's token.
        terms: What the pages are ordered by.

    Raises:
        Invalid: The token is none, or one of a search with another order.
    """
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
