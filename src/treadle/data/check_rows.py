"""Says in SQL which rows violate an expectation about single rows."""

from datetime import UTC, datetime

from treadle.data.opened_table import Column, OpenTable
from treadle.kernel.escaping import sql_text
from treadle.scope.data_checks import DataCheck


def violates(
    check: DataCheck,
    expects: str,
    column: Column,
    rows: str,
    other: tuple[OpenTable, Column] | None,
) -> str:
    """The condition in SQL that rows fulfil which violate an expectation; a missing value does not.

    Args:
        check: The check.
        expects: Its field: ``missing_max``, ``min``, ``max``, ``values``, ``matches``, ``unique``
            or ``references``.
        column: The column.
        rows: What follows ``FROM``, with the number of each row as ``row_``.
        other: The table and column that ``references`` names.
    """
    if expects == "missing_max":
        return f"{column.sql} IS NULL"
    if expects in ("min", "max"):
        return _beyond(check.min if expects == "min" else check.max, expects, column)
    if expects == "values":
        return _not_among(check.values, column)
    if expects == "matches":
        return f"NOT regexp_full_match({column.text}, {sql_text(check.matches)})"
    if expects == "unique":
        return (
            f"row_ IN (SELECT row_ FROM (SELECT row_, row_number() OVER "
            f"(PARTITION BY {column.sql} ORDER BY row_) AS n FROM {rows} "
            f"WHERE {column.sql} IS NOT NULL) WHERE n > 1)"
        )
    if other is None:
        raise ValueError(f"'{expects}' is no expectation about rows")
    table, referred = other
    ours, theirs = column.text, referred.text
    if column.kind == referred.kind == "number":
        ours, theirs = column.sql, referred.sql
    within = f"SELECT {theirs} FROM {table.source} WHERE {referred.sql} IS NOT NULL"
    return f"{column.sql} IS NOT NULL AND {ours} NOT IN ({within})"


def _beyond(bound: int | float | str | None, side: str, column: Column) -> str:
    """Values on the wrong side of a bound, and those that cannot be compared with it."""
    sign = "<" if side == "min" else ">"
    if isinstance(bound, str):
        moment = _moment(bound)
        if moment is None or column.kind == "number":
            return f"{column.text} {sign} {sql_text(bound)}"
        value = f"TRY_CAST({column.sql} AS TIMESTAMP)"
        if column.kind == "time":
            value = f"make_timestamp({column.micros})"
        limit = f"TIMESTAMP {sql_text(moment)}"
    else:
        value = column.sql if column.kind == "number" else f"TRY_CAST({column.text} AS DOUBLE)"
        limit = repr(bound)
    wrong = f"{value} {sign} {limit}"
    is_nan = f" OR isnan(CAST({value} AS DOUBLE))" if not isinstance(bound, str) else ""
    return f"{column.sql} IS NOT NULL AND ({value} IS NULL OR {wrong}{is_nan})"


def _moment(text: str) -> str | None:
    """A moment in UTC as DuckDB reads it; None for any other text."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return moment.isoformat(sep=" ")


def _not_among(values: list[int | float | bool | str], column: Column) -> str:
    if column.kind == "number":
        numbers = [repr(one) for one in values if not isinstance(one, bool | str)]
        allowed = ", ".join(numbers)
        value = column.sql
    else:
        allowed = ", ".join(sql_text(_text(one)) for one in values)
        value = column.text
    if not allowed:
        return f"{column.sql} IS NOT NULL"
    return f"{column.sql} IS NOT NULL AND {value} NOT IN ({allowed})"


def _text(value: int | float | bool | str) -> str:
    """A value as DuckDB writes it as text."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
