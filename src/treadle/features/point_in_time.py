"""Joins facts to rows as they were known at each row's moment, never later."""

from pathlib import Path
from typing import Any

import duckdb

from treadle.kernel.errors import Invalid


def join_as_of(
    rows: Any, facts: Any, *, at: str, known_at: str, by: list[str], within_seconds: float | None = None
) -> duckdb.DuckDBPyRelation:
    """Give every row the newest fact with ``known_at`` ≤ ``at`` and equal ``by`` columns.

    ``rows`` and ``facts`` are frames, relations or Parquet files (a glob as text). Facts' columns are added; where no
    fact was known, or only one older than ``within_seconds``, they are null. Every row comes back once. Source: DuckDB's
    ASOF join.
    """
    connection = duckdb.connect()
    left, right = _relation(connection, rows), _relation(connection, facts)
    for name, relation in ((at, left), (known_at, right), *((b, left) for b in by), *((b, right) for b in by)):
        if name not in relation.columns:
            raise Invalid(f"There is no column '{name}' to join on. There is: {', '.join(relation.columns)}.")
    added = [name for name in right.columns if name not in (known_at, *by) and name not in left.columns]
    fresh = f'epoch(r."{at}") - epoch(f."{known_at}") <= {within_seconds}' if within_seconds is not None else "true"
    picked = ", ".join(f'CASE WHEN {fresh} THEN f."{name}" END AS "{name}"' for name in added)
    equal = " AND ".join(f'r."{name}" = f."{name}"' for name in by)
    left.create_view("point_in_time_rows")
    right.create_view("point_in_time_facts")
    return connection.sql(
        f"""SELECT r.*, {picked} FROM point_in_time_rows r ASOF LEFT JOIN point_in_time_facts f
        ON {equal} AND r."{at}" >= f."{known_at}" """
    )


def _relation(connection: duckdb.DuckDBPyConnection, source: Any) -> duckdb.DuckDBPyRelation:
    if isinstance(source, str | Path):
        return connection.read_parquet(str(source))
    if isinstance(source, duckdb.DuckDBPyRelation):
        source = source.df()
    connection.register(f"source_{id(source)}", source)
    return connection.table(f"source_{id(source)}")
