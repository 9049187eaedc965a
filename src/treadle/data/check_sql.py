"""Runs a check's own SQL over a copy of the rows, in a DuckDB that reaches nothing else.

The rows are in a database file of their own, which is opened for reading only; access to files,
networks, extensions, variables of Python and settings is closed before the statement is seen.
"""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.check_report import Violation
from treadle.data.opened_table import OpenTable, cell, reason
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name, sql_text

ROW = "_row"
"""Column of the view ``rows`` with a row's number, from 0."""
SECONDS = 60.0
"""How long a statement may run."""
_CLOSED = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",
    "memory_limit": "1GB",
    "lock_configuration": "true",
}
_SHOWN = 10  # columns of an example


class Returned(NamedTuple):
    """What a statement has returned.

    Attributes:
        total: Number of rows.
        rows: Their numbers; None where it returned no ``_row``.
        examples: The first of them.
    """

    total: int
    rows: list[int] | None
    examples: list[Violation]


def violating(table: OpenTable, statement: str, *, examples: int) -> Returned:
    """Run a statement that returns the rows which violate a check.

    Args:
        table: The table, which the statement knows as ``rows``.
        statement: One ``SELECT``.
        examples: Rows that are shown at most.

    Raises:
        Invalid: It is not one ``SELECT``, cannot be run, reaches for something else than the rows,
            or takes too long.
    """
    import duckdb

    try:
        with _closed_copy(table) as connection, _ended_in_time(connection):
            return _run(connection, _only_select(connection, statement), examples)
    except duckdb.InterruptException as error:
        raise Invalid(f"The check's SQL ran for more than {SECONDS:g} s: {statement}") from error
    except duckdb.Error as error:
        raise Invalid(f"The check's SQL cannot be run: {reason(error)}") from error


@contextmanager
def _ended_in_time(connection: Any) -> Iterator[None]:
    timer = threading.Timer(SECONDS, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _closed_copy(table: OpenTable) -> Iterator[Any]:
    import duckdb

    if any(column.name.lower() == ROW for column in table.columns):
        raise Invalid(f"SQL checks need the name '{ROW}' for the rows' numbers. Rename the column.")
    with tempfile.TemporaryDirectory(prefix="treadle-check-") as folder:
        file = Path(folder, "rows.duckdb")
        with duckdb.connect(str(file)) as connection:
            connection.execute(f"SET temp_directory = {sql_text(folder)}")
            connection.execute(
                f"CREATE TABLE rows AS SELECT row_number() OVER () - 1 AS {ROW}, * "
                f"FROM {table.named}"
            )
        closed = duckdb.connect(str(file), read_only=True, config={**_CLOSED})
        try:
            yield closed
        finally:
            closed.close()


def _only_select(connection: Any, statement: str) -> str:
    import duckdb

    statements = connection.extract_statements(statement)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(f"A check's SQL is one SELECT, not: {statement[:200]}")
    return str(statements[0].query).strip().rstrip(";")


def _run(connection: Any, select: str, examples: int) -> Returned:
    within = f"(\n{select}\n)"  # the new line ends a comment
    described = connection.execute(f"DESCRIBE SELECT * FROM {within}").fetchall()
    names = [str(row[0]) for row in described]
    shown = [name for name in names if name != ROW][:_SHOWN]
    texts = [f"left(CAST({sql_name(name)} AS VARCHAR), 200)" for name in shown]
    order = f" ORDER BY {ROW}" if ROW in names else ""
    listed = ", ".join([*texts, ROW] if ROW in names else [*texts, "-1"])
    first = connection.execute(f"SELECT {listed} FROM {within}{order} LIMIT {examples}").fetchall()
    found = [
        Violation(row=row[-1], values=dict(zip(shown, map(cell, row), strict=False)))
        for row in first
    ]
    if ROW not in names:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {within}").fetchall()
        return Returned(count, None, found)
    rows = connection.execute(f"SELECT DISTINCT {ROW} FROM {within} ORDER BY 1").fetchall()
    return Returned(len(rows), [int(row) for (row,) in rows if row is not None], found)
