"""Scans columns of a table for the figures of their profiles: twice, the first for bounds."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from treadle.data.opened_table import Column, OpenTable

BINS = 20
TOP_VALUES = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
EXACT_ROWS = 100_000
"""Number of rows up to which quantiles and numbers of distinct values are exact."""
EXACT_COLUMNS = 200
"""Number of columns up to which distinct values and repeats are counted."""
UNIQUE_ROWS = 5_000_000
"""Number of rows up to which it is counted whether values repeat."""
_SAMPLED = 20_000  # rows that tell whether values of a column are frequent
_ALL_DIFFERENT = 0.9  # share of distinct values from which no value is frequent


def is_small(table: OpenTable) -> bool:
    """Whether all figures of a table are exact.

    Args:
        table: The table.
    """
    return table.rows <= EXACT_ROWS and len(table.columns) <= EXACT_COLUMNS


def counts_repeats(table: OpenTable) -> bool:
    """Whether it is counted if values of whole numbers and texts repeat.

    Args:
        table: The table.
    """
    return table.rows <= UNIQUE_ROWS and len(table.columns) <= EXACT_COLUMNS


class Figures(NamedTuple):
    """What the first scan tells of a column."""

    column: Column
    present: int
    finite: int
    distinct: int
    low: Any
    high: Any
    mean: Any
    std: Any
    quantiles: Any
    top: Any
    shortest: Any
    mean_length: Any
    longest: Any


def value_of(column: Column) -> str:
    """What a column's figures are computed of, in SQL.

    Args:
        column: The column.
    """
    if column.kind == "time":
        return column.micros
    if column.kind == "text":
        return column.text
    if column.is_float:
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    return column.sql


def first_scan(table: OpenTable, columns: Sequence[Column]) -> list[Figures]:
    """Scan columns for their figures, and for the bounds of the second scan.

    Args:
        table: The table.
        columns: The columns.
    """
    exact = is_small(table)
    different = set() if table.rows <= EXACT_ROWS else _all_different(table, columns)
    shares = f"[{', '.join(map(str, QUANTILES))}]"
    expressions: list[str] = []
    for column in columns:
        v = f"v{column.place}"
        as_number = f"CAST({v} AS DOUBLE)"
        measured = column.kind in ("number", "boolean")
        ordered = column.kind in ("number", "time")
        expressions += [
            f"count({column.sql})",
            f"count({v})",
            f"count(DISTINCT {v})" if exact else f"approx_count_distinct({v})",
            f"min({v})" if ordered else "NULL",
            f"max({v})" if ordered else "NULL",
            f"avg({as_number})" if measured else "NULL",
            f"sqrt(var_pop({as_number}))" if column.kind == "number" else "NULL",
            f"{'quantile_cont' if exact else 'approx_quantile'}({as_number}, {shares})"
            if ordered
            else "NULL",
            "NULL" if column in different else f"approx_top_k({v}, {TOP_VALUES})",
            *(
                f"{function}(length({v}))" if column.kind == "text" else "NULL"
                for function in ("min", "avg", "max")
            ),
        ]
    row = table.one(f"SELECT {', '.join(expressions)} FROM ({_values(table, columns)})")
    size = len(Figures._fields) - 1
    return [
        Figures(column, *row[index * size : (index + 1) * size])
        for index, column in enumerate(columns)
    ]


def _all_different(table: OpenTable, columns: Sequence[Column]) -> set[Column]:
    """The columns whose first values are nearly all different: none of them is frequent."""
    counts = ", ".join(f"approx_count_distinct(v{one.place})" for one in columns)
    row = table.one(f"SELECT {counts} FROM ({_values(table, columns)} LIMIT {_SAMPLED})")
    return {
        column
        for column, count in zip(columns, row, strict=True)
        if count > _ALL_DIFFERENT * _SAMPLED
    }


def _values(table: OpenTable, columns: Sequence[Column]) -> str:
    """The columns and what their figures are computed of, in SQL."""
    read = ", ".join(f"{one.sql}, {value_of(one)} AS v{one.place}" for one in columns)
    return f"SELECT {read} FROM {table.reading(columns)}"


class Counted(NamedTuple):
    """What the second scan tells of a column."""

    bins: list[int] | None
    top: list[tuple[Any, int]]
    distinct: int | None


def second_scan(table: OpenTable, figures: Sequence[Figures]) -> list[Counted]:
    """Count bins, frequent values and repeats, for which the first scan gives the bounds.

    Args:
        table: The table.
        figures: What the first scan has found.
    """
    expressions: list[str] = []
    parameters: list[Any] = []
    for known in figures:
        v = f"v{known.column.place}"
        edges = _edges(known)
        if edges:
            inner = ", ".join(map(repr, edges))
            expressions.append(f"map_entries(histogram(CAST({v} AS DOUBLE), [{inner}]::DOUBLE[]))")
        else:
            expressions.append("NULL")
        if top := _frequent(known):
            expressions.append(f"map_entries(histogram_exact({v}, $p{len(parameters)}))")
            parameters.append(top)
        else:
            expressions.append("NULL")
        asks = not is_small(table) and may_be_unique(known) and counts_repeats(table)
        expressions.append("true" if asks else "false")
    if all(one in ("NULL", "false", "true") for one in expressions):
        row: tuple[Any, ...] = tuple(
            None if one == "NULL" else one == "true" for one in expressions
        )
    else:
        columns = [known.column for known in figures]
        query = f"SELECT {', '.join(expressions)} FROM ({_values(table, columns)})"
        named = {f"p{index}": value for index, value in enumerate(parameters)}
        row = table.connection.execute(query, named).fetchall()[0]
    found = []
    for index, known in enumerate(figures):
        bins, top, asks = row[3 * index : 3 * index + 3]
        found.append(
            Counted(
                _bin_counts(bins, len(_edges(known))),
                [(one["key"], one["value"]) for one in (top or [])[: len(_frequent(known))]],
                _distinct(table, known.column) if asks else None,
            )
        )
    return found


def _edges(known: Figures) -> list[float]:
    """The upper edges of a column's bins; empty where it has no histogram."""
    if known.column.kind not in ("number", "time") or not known.finite:
        return []
    low, high = float(known.low), float(known.high)
    width = (high - low) / BINS
    if not (low < high and math.isfinite(width) and low + width > low):
        return []
    inner = [low + width * place for place in range(1, BINS)]
    return [*inner, high] if all(a < b for a, b in pairwise(inner)) else []


def _bin_counts(entries: Any, bins: int) -> list[int] | None:
    if entries is None:
        return None
    counts = [int(one["value"]) for one in entries]
    return [*counts, *[0] * bins][:bins]


def _frequent(known: Figures) -> list[Any]:
    """The values that are counted as the most frequent ones; none where nearly all differ."""
    if known.finite > TOP_VALUES and known.distinct > _ALL_DIFFERENT * known.finite:
        return []
    return [value for value in known.top or [] if value is not None]


def may_be_unique(known: Figures) -> bool:
    """Whether the estimate, which is a few per cent off, leaves it open.

    Measured numbers and times are not asked: they differ by chance, and name nothing.

    Args:
        known: What the first scan has found.
    """
    names = known.column.kind == "text" or (
        known.column.kind == "number" and not known.column.is_float
    )
    return names and known.finite > 0 and known.distinct > 0.8 * known.finite


def _distinct(table: OpenTable, column: Column) -> int:
    (count,) = table.one(
        f"SELECT count(DISTINCT v) FROM (SELECT {value_of(column)} AS v FROM {table.source})"
    )
    return int(count)
