"""The search language over runs, as SQL.

It reads indexed key/value tables, one page at a time from where the last one ended.
"""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Table, and_, func, not_, or_, select, true

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
from treadle.tracking.search_conditions import (
    attribute_matches,
    dataset_matches,
    number_matches,
    text_matches,
)
from treadle.tracking.search_pages import Terms, read_token, token_after
from treadle.tracking.tables import run_metrics, run_params, run_tags, runs

View = Literal["active", "deleted", "all"]

MOST_ON_A_PAGE = 50_000
FEW = 5_000
"""Rows that a condition may match to be worth a list; beyond that a page is sooner filled by
looking run by run.
"""
_STATS = {"min": run_metrics.c.low, "max": run_metrics.c.high, "last": run_metrics.c.last}


class Search:
    """One search over the runs of some experiments.

    Args:
        connection: A connection to the records.
        experiments: The experiments' numbers.
        view: Whether deleted runs are found.
    """

    def __init__(
        self, connection: Connection, experiments: Sequence[int], view: View = "active"
    ) -> None:
        self.connection, self.experiments, self._view = connection, list(experiments), view

    def found(
        self, filter: str, order: Sequence[str], limit: int, token: str
    ) -> tuple[list[Any], str]:
        """Return the rows of ``runs`` that a filter finds, and the token of the next page.

        Args:
            filter: The filter as text; empty for all runs.
            order: The fields to sort by as texts, such as ``metrics.loss DESC``.
            limit: The most rows of a page, 1 to 50,000.
            token: The token of the page; empty for the first.

        Raises:
            Invalid: The filter, an order, the limit or the token cannot be read.
        """
        if not 1 <= limit <= MOST_ON_A_PAGE:
            raise Invalid(f"Field 'limit': a page has 1 to 50,000 runs, not {limit}.")
        node, orders = parse(filter), parse_orders(order)
        return self.page(node, orders, limit, token) if self.experiments else ([], "")

    def page(
        self, node: Node | None, orders: Sequence[Order], limit: int, token: str
    ) -> tuple[list[Any], str]:
        """Return the rows of ``runs`` on a page, and the token of the next page.

        Args:
            node: The filter; None finds all runs.
            orders: What the runs are ordered by; among equals the newest is first.
            limit: The most rows of a page.
            token: The token of the page; empty for the first.

        Returns:
            The rows, and a token that is empty on the last page.

        Raises:
            Invalid: The filter or the order cannot be read, or the token is of another search.
        """
        terms = Terms(orders, self.experiments, self.metric)
        start = read_token(token, terms) if token else None
        kept = [self._scope(), *([] if node is None else [self.where(node)])]
        rows: list[Any] = []
        for phase in terms.phases:
            if start is not None and phase < start[0]:
                continue
            after = start[1] if start is not None and start[0] == phase else None
            wanted = terms.query(phase, after).where(*kept).limit(limit + 1 - len(rows))
            rows += [(phase, row) for row in self.connection.execute(wanted)]
            if len(rows) > limit:
                phase_of_last, last = rows[limit - 1]
                return [row for _, row in rows[:limit]], token_after(phase_of_last, last, terms)
        return [row for _, row in rows], ""

    def size(self) -> int:
        """Count the runs that an empty filter finds."""
        counted = select(func.count()).select_from(runs).where(self._scope())
        return self.connection.scalar(counted) or 0

    def _scope(self) -> ColumnElement[bool]:
        mine = (
            runs.c.experiment.in_(self.experiments)
            if len(self.experiments) != 1
            else runs.c.experiment == self.experiments[0]
        )
        shown = {
            "active": runs.c.deleted_at.is_(None),
            "deleted": runs.c.deleted_at.is_not(None),
            "all": true(),
        }
        return and_(mine, shown[self._view])

    def where(self, node: Node) -> ColumnElement[bool]:
        """Return a filter as a condition on ``runs``; every part is true or false, never unknown.

        Args:
            node: The filter.

        Raises:
            Invalid: A comparison in it makes no sense; the error names its place.
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
            return attribute_matches(node)
        if node.field.kind == "dataset":
            return dataset_matches(node)
        if node.field.kind == "metadata":
            raise Invalid("Runs have no metadata to search; traces have. Use params or tags.")
        if node.field.kind == "metric":
            key, column = self.metric(node.field)
            return self._has(run_metrics, key, node, number_matches(column, node))
        table = run_params if node.field.kind == "param" else run_tags
        return self._has(
            table, node.field.key, node, text_matches(table.c.value, node, table.c.head)
        )

    def _has(
        self, table: Table, key: str, node: Compare, condition: ColumnElement[bool]
    ) -> ColumnElement[bool]:
        """Whether a run has a row that satisfies a condition.

        It is found by index where few do, else looked up run by run.
        """
        if node.operator == "IS NULL":
            return not_(_each(table, key, true()))
        mine = (table.c.experiment.in_(self.experiments), table.c.key == key, condition)
        there = select(table.c.run).where(*mine)
        counted = select(func.count()).select_from(there.limit(FEW + 1).subquery())
        few = (self.connection.scalar(counted) or 0) <= FEW
        return runs.c.number.in_(there) if few else _each(table, key, condition)

    def metric(self, field: Field) -> tuple[str, ColumnElement[Any]]:
        """Return the key and the column of a metric's field.

        ``loss.min`` is an extreme unless a metric has that very name.

        Args:
            field: The field.
        """
        key, dot, stat = field.key.rpartition(".")
        if not dot or field.quoted or stat not in _STATS or self._is_key(field.key):
            return field.key, run_metrics.c.last
        return key, _STATS[stat]

    def _is_key(self, key: str) -> bool:
        mine = run_metrics.c.experiment.in_(self.experiments) & (run_metrics.c.key == key)
        return (
            self.connection.execute(select(run_metrics.c.run).where(mine).limit(1)).first()
            is not None
        )


def _each(table: Table, key: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return (
        select(table.c.run)
        .where(table.c.run == runs.c.number, table.c.key == key, condition)
        .exists()
    )
