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
        value = column.micros if column.kind == "time" else column.sql
        value = f"CAST({exact(value, column.type)} AS DOUBLE)"
        return f"nullif({value}, 'NaN'::DOUBLE)" if column.is_float else value

    def _rows(self, where: str = "", *, as_text: bool = False) -> str:
        """Its values as ``v``, in SQL."""
        value = f"CAST({self._value} AS VARCHAR)" if as_text else self._value
        if self._half is not None:
            where = " AND ".join(filter(None, [where, f"place % 2 = {self._half}"]))
        source = self._table.numbered if where else self._table.source
        return f"SELECT {value} AS v FROM {source}{f' WHERE {where}' if where else ''}"

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
        std = "stddev_pop(v) FILTER (isfinite(v)), count(v), count(*)"
        asked = [f"{std}", *(_aggregates(edges) if len(edges) else ())]
        row = self._table.one(f"SELECT {', '.join(asked)} FROM ({self._rows()})")
        spread, present, rows, *others = row
        found, below, above = others or (None, 0.0, 0.0)
        by_end: dict[float, int] = found or {}
        inner = [by_end.get(end, 0) for end in _ends(edges)]
        counts = np.array([*inner, present - sum(inner), rows - present], dtype=np.int64)
        return NumberCounts(
            counts, float(below or 0), float(above or 0), math.nan if spread is None else spread
        )

    def labels(self, labels: Sequence[str]) -> list[int]:
        """Count texts by label.

        Args:
            labels: Labels, with ``(other)`` and ``(missing)`` among them.
        """
        rows = self._rows(as_text=True)
        pairs = self._table.all(
            f"SELECT CASE WHEN v IS NULL THEN '{MISSING}' "
            f"WHEN list_contains($1::VARCHAR[], v) THEN v ELSE '{OTHER}' END AS label, count(*) "
            f"FROM ({rows}) GROUP BY label",
            [list(labels)],
        )
        found = dict(pairs)
        return [int(found.get(label, 0)) for label in labels]

    def at(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of some rows: numbers with NaN, or texts with None.

        Args:
            places: The rows' places in the table (rows,), ascending and distinct.
        """
        numbered = f"SELECT v, row_number() OVER () - 1 AS place FROM ({self._rows()})"
        found = self._table.all(
            f"SELECT v FROM ({numbered}) WHERE place IN (SELECT unnest($1::BIGINT[])) "
            "ORDER BY place",
            [places.tolist()],
        )
        if self.holds in ("text", "nothing"):
            return np.array([*(v for (v,) in found), None], dtype=object)[:-1]
        return np.array([math.nan if v is None else v for (v,) in found], dtype=np.float64)


def exact(value: str, kind: str) -> str:
    """A number in SQL so that its conversion to a double is the nearest one, as in Python.

    Args:
        value: The number in SQL.
        kind: Its type as DuckDB names it; decimals are converted through their text.
    """
    return f"CAST({value} AS VARCHAR)" if kind.startswith("DECIMAL") else value


def _ends(edges: NDArray[np.float64]) -> list[float]:
    """The largest number of each bin but the last, since DuckDB's bins hold their upper edge."""
    ends: list[float] = np.nextafter(edges, -np.inf).tolist()
    return ends


def _aggregates(edges: NDArray[np.float64]) -> list[str]:
    """Rows by bin, and the sums of distances beyond the outer edges, in SQL."""
    first, last = float(edges[0]), float(edges[-1])
    return [
        f"histogram(v, {_ends(edges)!r}::DOUBLE[])",
        f"sum({first!r}::DOUBLE - v) FILTER (v < {first!r}::DOUBLE AND isfinite(v))",
        f"sum(v - {last!r}::DOUBLE) FILTER (v > {last!r}::DOUBLE AND isfinite(v))",
    ]


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
        lambda place, rows: FileColumn(table, table.columns[place], None).at(rows),
    )
