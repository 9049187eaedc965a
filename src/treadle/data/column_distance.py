"""How far the values of a column are from those of the same column in another version."""

from typing import Any, Literal

import numpy as np

from treadle.data.opened_table import Column, OpenTable
from treadle.stats.distances import jensen_shannon, population_stability_index

BINS = 10
CATEGORIES = 30


def distance_between(
    reference: tuple[OpenTable, Column],
    current: tuple[OpenTable, Column],
    measure: Literal["psi", "js"],
) -> float:
    """Compare the distributions of a column in two tables.

    Numbers and times are counted between the reference's deciles, other values by the reference's
    30 most frequent ones; missing values have a bin of their own.

    Args:
        reference: The table and its column that choose the bins.
        current: The table and its column that are compared with them.
        measure: ``psi`` or ``js``, as in ``treadle.stats.distances``.
    """
    is_measured = reference[1].kind == current[1].kind and reference[1].kind in ("number", "time")
    count = _between_edges if is_measured else _by_category
    first, second = count(reference, current)
    measured = jensen_shannon if measure == "js" else population_stability_index
    return measured(np.array(first, dtype=float), np.array(second, dtype=float))


def _numbers(column: Column) -> str:
    value = column.micros if column.kind == "time" else column.sql
    return f"CAST({value} AS DOUBLE)"


def _between_edges(*sides: tuple[OpenTable, Column]) -> list[list[int]]:
    table, column = sides[0]
    shares = ", ".join(str(place / BINS) for place in range(1, BINS))
    (edges,) = table.one(
        f"SELECT approx_quantile(v, [{shares}]) FROM (SELECT {_numbers(column)} AS v "
        f"FROM {table.source}) WHERE isfinite(v)"
    )
    inner = sorted({float(edge) for edge in edges or [0.0] if edge is not None})
    return [_counts(table, column, inner) for table, column in sides]


def _counts(table: OpenTable, column: Column, edges: list[float]) -> list[int]:
    within = ", ".join(
        f"count(*) FILTER (WHERE {_above(low)} AND {_below(high)})"
        for low, high in zip([None, *edges], [*edges, None], strict=True)
    )
    row = table.one(
        f"SELECT {within}, count(*) - count(v) FROM (SELECT {_numbers(column)} AS v "
        f"FROM {table.source})"
    )
    return [int(count) for count in row]


def _above(edge: float | None) -> str:
    return "v IS NOT NULL" if edge is None else f"v > {edge!r}"


def _below(edge: float | None) -> str:
    return "v IS NOT NULL" if edge is None else f"v <= {edge!r}"


def _by_category(*sides: tuple[OpenTable, Column]) -> list[list[int]]:
    table, column = sides[0]
    grouped = f"SELECT {column.text} AS v, count(*) AS n FROM {table.source} GROUP BY v"
    frequent: list[Any] = [
        value
        for value, _ in table.all(
            f"{grouped} HAVING v IS NOT NULL ORDER BY n DESC, v LIMIT {CATEGORIES}"
        )
    ]
    counts = []
    for table, column in sides:
        found = dict(
            table.all(
                f"SELECT v, count(*) FROM (SELECT {column.text} AS v FROM {table.source}) "
                "WHERE list_contains($1::VARCHAR[], v) GROUP BY v",
                [frequent],
            )
        )
        (missing,) = table.one(f"SELECT count(*) - count({column.sql}) FROM {table.source}")
        common = [int(found.get(value, 0)) for value in frequent]
        counts.append([*common, table.rows - sum(common) - missing, missing])
    return counts
