"""Counts the columns of Parquet and CSV files through SQL: nothing is held but the counts."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.columns import SUMMARY, Holds, NumberCounts, Source, Summary
from treadle.data.opened_table import Column, OpenTable
from treadle.data.profile import MISSING, OTHER


class FileColumn:
    """A column of an open table.

    Args:
        table: The table.
        column: The column.
        half: Which half of its rows: every second one from the first (0) or second (1), or all.
    """

    def __init__(self, table: OpenTable, column: Column, half: int | None) -> None:
        self._table, self._column, self._half = table, column, half

    @cached_property
    def holds(self) -> Holds:
        """What it holds; ``nothing`` where no row has a value."""
        (present,) = self._table.one(
            f"SELECT EXISTS (FROM {self._table.source} WHERE {self._column.sql} IS NOT NULL)"
        )
        return self._column.kind if present else "nothing"

    @property
    def _value(self) -> str:
        """The value in SQL: a double, or a text; missing ones are null."""
        column = self._column
        if column.kind == "text":
            return f"nullif({column.text}, '')"
        value = f"CAST({column.micros if column.kind == 'time' else column.sql} AS DOUBLE)"
        return f"nullif({value}, 'NaN'::DOUBLE)" if column.is_float else value

    def _rows(self, where: str = "") -> str:
        """Its values as ``v``, in SQL."""
        if self._half is not None:
            where = " AND ".join(filter(None, [where, f"place % 2 = {self._half}"]))
        source = self._table.numbered if where else self._table.source
        return f"SELECT {self._value} AS v FROM {source}{f' WHERE {where}' if where else ''}"

    def summary(self) -> Summary:
        """Return evenly spaced rows' values, or of a small table all."""
        step = max(1, self._table.rows // SUMMARY)
        where = f"place // 2 % {step} = 0" if step > 1 else ""
        finite = "isfinite(v)" if self._column.kind != "text" else "v IS NOT NULL"
        pairs = self._table.all(
            f"SELECT v, count(*) FROM ({self._rows(where)}) WHERE {finite} GROUP BY v ORDER BY v"
        )
        values: NDArray[Any] = np.array(
            [value for value, _ in pairs], dtype=object if self._column.kind == "text" else float
        )
        return Summary(values, np.array([rows for _, rows in pairs], dtype=np.float64) * step)

    def numbers(self, edges: NDArray[np.float64]) -> NumberCounts:
        """Count numbers between edges.

        Args:
            edges: Edges between bins, ascending and finite; a number that equals one lies above.
        """
        ends = np.nextafter(edges, -np.inf).tolist()  # DuckDB's bins hold their upper edge
        bins = f"histogram(v, {ends!r}::DOUBLE[])" if ends else "MAP {}"
        below = f"sum({edges[0]!r} - v) FILTER (v < {edges[0]!r} AND isfinite(v))" if ends else "0"
        above = f"sum(v - {edges[-1]!r}) FILTER (v > {edges[-1]!r} AND isfinite(v))"
        std, mean = "stddev_pop(v) FILTER (isfinite(v))", "count(v)"
        found, low, high, spread, present, rows = self._table.one(
            f"SELECT {bins}, {below}, {above if ends else '0'}, {std}, {mean}, count(*) "
            f"FROM ({self._rows()})".replace("np.float64(", "(")
        )
        inner = [int((found or {}).get(end, 0)) for end in ends]
        counts = np.array([*inner, present - sum(inner), rows - present], dtype=np.int64)
        return NumberCounts(
            counts, float(low or 0), float(high or 0), math.nan if spread is None else spread
        )

    def labels(self, labels: Sequence[str]) -> list[int]:
        """Count texts by label.

        Args:
            labels: Labels, with ``(other)`` and ``(missing)`` among them.
        """
        shown = f"CASE WHEN v IS NULL THEN '{MISSING}' WHEN list_contains($1::VARCHAR[], v) THEN v "
        pairs = self._table.all(
            f"SELECT {shown} ELSE '{OTHER}' END AS label, count(*) FROM ({self._rows()}) "
            "GROUP BY label",
            [list(labels)],
        )
        found = dict(pairs)
        return [int(found.get(label, 0)) for label in labels]


def file_source(table: OpenTable) -> Source:
    """Make a source of an open table.

    Args:
        table: The table.
    """
    return Source(
        table.rows,
        [column.name for column in table.columns],
        lambda place, half: FileColumn(table, table.columns[place], half),
        False,
    )
