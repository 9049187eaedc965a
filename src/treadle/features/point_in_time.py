"""Joins facts to rows as they were known at each row's moment, never later."""

from pathlib import Path
from typing import Any

import duckdb

from treadle.data.frames import quoted
from treadle.kernel.errors import Invalid


def join_as_of(
    rows: Any,
    facts: Any,
    *,
    at: str,
    known_at: str,
    by: list[str],
    within_seconds: float | None = None,
) -> duckdb.DuckDBPyRelation:
    """Give every row the newest fact with ``known_at`` ≤ ``at`` and equal ``by`` columns (none: the facts are everybody's).

    ``rows`` and ``facts`` are frames, relations or Parquet files (a glob as text). Facts' columns are added; where no
    fact was known, or only one older than ``within_seconds``, they are null. Every row comes back once. Moments are
    timestamps, dates, or numbers of seconds. Source: DuckDB's
    ASOF join.
    """
    connection = duckdb.connect()
    left, right = _relation(connection, rows), _relation(connection, facts)
    for name, relation in (
        (at, left),
        (known_at, right),
        *((b, left) for b in by),
        *((b, right) for b in by),
    ):
        if name not in relation.columns:
            raise Invalid(
                f"There is no column '{name}' to join on. There is: {', '.join(relation.columns)}."
            )
    added = [name for name in right.columns if name not in (known_at, *by)]
    twins = [name for name in added if name in left.columns]
    if twins:
        raise Invalid(
            f"Both sides have a column '{twins[0]}'. Rename it, or leave it out of one of them."
        )
    moment, known = f"r.{quoted(at)}", f"f.{quoted(known_at)}"
    fresh = f"{_seconds(left, at, moment)} - {_seconds(right, known_at, known)} <= {within_seconds}"
    fresh = fresh if within_seconds is not None else "true"
    picked = ", ".join(
        f"CASE WHEN {fresh} THEN f.{quoted(name)} END AS {quoted(name)}" for name in added
    )
    equal = "".join(f"r.{quoted(name)} = f.{quoted(name)} AND " for name in by)
    left.create_view("point_in_time_rows")
    right.create_view("point_in_time_facts")
    return connection.sql(
        f"""SELECT {", ".join(["r.*", *([picked] if picked else [])])}
        FROM point_in_time_rows r ASOF LEFT JOIN point_in_time_facts f ON {equal}{moment} >= {known}"""
    )


def _seconds(relation: duckdb.DuckDBPyRelation, column: str, expression: str) -> str:
    """A moment in seconds: of a timestamp or a date, or a number that counts seconds already."""
    kind = str(relation.types[relation.columns.index(column)])
    return f"epoch({expression})" if kind.startswith(("TIMESTAMP", "DATE")) else expression


def _relation(connection: duckdb.DuckDBPyConnection, source: Any) -> duckdb.DuckDBPyRelation:
    if isinstance(source, str | Path):
        return connection.read_parquet(str(source))
    if isinstance(source, duckdb.DuckDBPyRelation):
        source = source.df()
    connection.register(f"source_{id(source)}", source)
    return connection.table(f"source_{id(source)}")
