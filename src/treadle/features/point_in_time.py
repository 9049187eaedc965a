"""Joins to each row the newest facts that were known at the row's time, never later ones."""

from pathlib import Path
from typing import Any

import duckdb

from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name


def join_as_of(
    rows: Any,
    facts: Any,
    *,
    at: str,
    known_at: str,
    by: list[str],
    within_seconds: float | None = None,
) -> duckdb.DuckDBPyRelation:
    """Join to each row the newest fact that was known at the row's time.

    Every row comes back exactly once. The facts' columns are added; they are null where no fact was
    known in time. Source: DuckDB's ASOF join.

    Args:
        rows: Frame, DuckDB relation, or path or glob of Parquet files.
        facts: Frame, DuckDB relation, or path or glob of Parquet files.
        at: Column of ``rows`` with each row's time: timestamp, date, or number of seconds.
        known_at: Column of ``facts`` with the time from which a fact is known: timestamp, date, or
            number of seconds.
        by: Columns that a row and its fact have in common; empty when every fact applies to all
            rows.
        within_seconds: Largest age of a fact, in seconds; by default any age.

    Returns:
        A DuckDB relation with all columns of ``rows`` and the further columns of ``facts``.

    Raises:
        Invalid: A column to join on is absent, or both sides have another column of the same name.
    """
    connection = duckdb.connect()
    left = _relation(connection, rows)
    right = _relation(connection, facts)
    _require(left, [at])
    _require(right, [known_at])
    _require(left, by)
    _require(right, by)
    added = [name for name in right.columns if name not in (known_at, *by)]
    twins = [name for name in added if name in left.columns]
    if twins:
        raise Invalid(
            f"Both sides have a column '{twins[0]}'. Rename it, or leave it out of one of them."
        )
    moment, known = f"r.{sql_name(at)}", f"f.{sql_name(known_at)}"
    age_seconds = f"{_seconds(left, at, moment)} - {_seconds(right, known_at, known)}"
    fresh = f"{age_seconds} <= {within_seconds}" if within_seconds is not None else "true"
    picked = ", ".join(
        f"CASE WHEN {fresh} THEN f.{sql_name(name)} END AS {sql_name(name)}" for name in added
    )
    equal = "".join(f"r.{sql_name(name)} = f.{sql_name(name)} AND " for name in by)
    left.create_view("point_in_time_rows")
    right.create_view("point_in_time_facts")
    return connection.sql(
        f"""SELECT {", ".join(["r.*", *([picked] if picked else [])])}
        FROM point_in_time_rows r
        ASOF LEFT JOIN point_in_time_facts f ON {equal}{moment} >= {known}"""
    )


def _require(relation: duckdb.DuckDBPyRelation, names: list[str]) -> None:
    """Refuse a relation that lacks one of the columns to join on."""
    for name in names:
        if name not in relation.columns:
            raise Invalid(
                f"There is no column '{name}' to join on. There is: {', '.join(relation.columns)}."
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
