"""Checks a table against what is expected of it, and sets the rows aside that violate it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.check_report import EXAMPLES, ROWS_NAMED, CheckReport, CheckResult, Violation
from treadle.data.check_rows import violates
from treadle.data.check_sql import violating
from treadle.data.column_distance import distance_between
from treadle.data.engine import query_engine
from treadle.data.opened_table import Column, OpenTable, cell, moment, open_table, reason
from treadle.data.table_files import as_written, files_of
from treadle.kernel.clock import duration
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.escaping import sql_name, sql_text
from treadle.scope.data_checks import DataCheck


class Surroundings(NamedTuple):
    """What checks compare a table with.

    Attributes:
        now: The present time, aware; ``fresh`` is measured from it.
        datasets: Files of other datasets by name, for ``references``.
        versions: Files of versions of this dataset by what ``same_as`` names.
    """

    now: datetime
    datasets: Mapping[str, Path] = {}
    versions: Mapping[str, Path] = {}


def check_table(file: Path, checks: Sequence[DataCheck], surroundings: Surroundings) -> CheckReport:
    """Check a table.

    Args:
        file: A CSV or Parquet file, or a folder of files of one of these kinds.
        checks: What is expected of it.
        surroundings: What it is compared with.

    Returns:
        What each expectation has found, whether or not it holds.

    Raises:
        NotFound: The file, or a dataset or version that a check names, does not exist.
        Invalid: The file cannot be read as a table, or a check cannot be made, as one whose regular
            expression or SQL is malformed.
    """
    with _checking(file, surroundings) as checking:
        return checking.report(checks)


def quarantined(
    file: Path,
    checks: Sequence[DataCheck],
    surroundings: Surroundings,
    *,
    good: Path,
    bad: Path,
) -> CheckReport:
    """Check a table, and write the rows that it keeps and those that are set aside.

    Files keep their names below a folder, their format and the order of their rows; values of CSV
    files stay as they were written. Nothing is written where no row is set aside.

    Args:
        file: A CSV or Parquet file, or a folder of files of one of these kinds.
        checks: What is expected of it.
        surroundings: What it is compared with.
        good: Path of the file, or folder, of the rows that are kept.
        bad: Path of the file, or folder, of the rows that are set aside.

    Returns:
        What each expectation has found.

    Raises:
        NotFound: The file, or a dataset or version that a check names, does not exist.
        Invalid: The file cannot be read as a table, or a check cannot be made.
    """
    with _checking(file, surroundings) as checking:
        report = checking.report(checks)
        if report.quarantined:
            checking.split(file, good, bad)
    return report


@contextmanager
def _checking(file: Path, surroundings: Surroundings) -> Iterator["_Checking"]:
    import duckdb

    with query_engine() as connection, ExitStack() as opened:
        table = opened.enter_context(open_table(file, connection=connection))
        try:
            yield _Checking(table, surroundings, opened)
        except duckdb.Error as error:
            raise Invalid(f"'{file.name}' cannot be checked: {reason(error)}") from error


class _Checking:
    """The checks of one open table; row numbers of SQL checks and of rows set aside are kept."""

    def __init__(self, table: OpenTable, surroundings: Surroundings, opened: ExitStack) -> None:
        self._table, self._surroundings, self._opened = table, surroundings, opened
        self._rows = f"(SELECT row_number() OVER () - 1 AS row_, * FROM {table.source})"
        self._others: dict[Path, OpenTable] = {}
        self._set_aside: list[str] = []

    def report(self, checks: Sequence[DataCheck]) -> CheckReport:
        results = [
            self._result(check, expects) for check in checks for expects in check.expectations
        ]
        report = CheckReport(rows=self._table.rows, checks=results)
        self._table.connection.execute("CREATE OR REPLACE TEMP TABLE set_aside (row_ BIGINT)")
        if not self._set_aside:
            return report
        conditions = " OR ".join(f"coalesce({one}, false)" for one in self._set_aside)
        self._table.connection.execute(
            f"INSERT INTO set_aside SELECT row_ FROM {self._rows} WHERE {conditions}"
        )
        numbers = self._table.all(f"SELECT row_ FROM set_aside ORDER BY row_ LIMIT {ROWS_NAMED}")
        (count,) = self._table.one("SELECT count(*) FROM set_aside")
        return replace(report, quarantined=count, quarantined_rows=[row for (row,) in numbers])

    def _result(self, check: DataCheck, expects: str) -> CheckResult:
        result = CheckResult(
            says=_says(check, expects),
            expects=expects,
            column=check.column,
            severity=check.severity,
            passed=True,
        )
        if expects == "sql":
            return self._of_sql(check, result)
        if expects in ("rows_min", "rows_max"):
            return self._of_rows(check, expects, result)
        column = self._table.column(check.column)
        if column is None:
            known = did_you_mean(check.column, [one.name for one in self._table.columns])
            absent = f"there is no such column.{known}".removesuffix(".")
            return replace(result, passed=False, severity=_not_aside(check), measured=absent)
        if expects == "column":
            return result
        if expects == "type":
            is_type = column.kind == check.type
            found = "" if is_type else f"it holds {column.kind} ({column.type})"
            return replace(result, passed=is_type, measured=found)
        if expects == "fresh":
            return self._of_freshness(check, column, result)
        if expects == "same_as":
            return self._of_distance(check, column, result)
        return self._of_column(check, expects, column, result)

    def _of_column(
        self, check: DataCheck, expects: str, column: Column, result: CheckResult
    ) -> CheckResult:
        other = self._referred(check) if expects == "references" else None
        condition = violates(check, expects, column, self._rows, other)
        (count,) = self._table.one(f"SELECT count(*) FROM {self._rows} WHERE {condition}")
        share = count / self._table.rows if self._table.rows else 0.0
        allowed = check.missing_max if expects == "missing_max" else 0.0
        passed = share <= (allowed or 0.0)
        if not passed and check.severity == "quarantine":
            self._set_aside.append(condition)
        return replace(
            result,
            passed=passed,
            violations=count,
            share=share,
            examples=self._examples(condition, column) if count and not passed else [],
        )

    def _examples(self, condition: str, column: Column) -> list[Violation]:
        rows = self._table.all(
            f"SELECT row_, {column.shown} FROM {self._rows} WHERE {condition} "
            f"ORDER BY row_ LIMIT {EXAMPLES}"
        )
        return [Violation(row=row, values={column.name: cell(value)}) for row, value in rows]

    def _of_sql(self, check: DataCheck, result: CheckResult) -> CheckResult:
        found = violating(self._table, check.sql, examples=EXAMPLES)
        if found.total and check.severity == "quarantine":
            if found.rows is None:
                raise Invalid(
                    "An SQL check that sets rows aside returns their column '_row': "
                    f"{check.sql[:200]}"
                )
            self._set_aside.append(self._kept(found.rows))
        share = min(1.0, found.total / self._table.rows) if self._table.rows else 0.0
        return replace(
            result,
            passed=not found.total,
            violations=found.total,
            share=share,
            examples=found.examples,
        )

    def _kept(self, rows: list[int]) -> str:
        """Keep row numbers as a table; returns the condition that rows fulfil which are in it."""
        name = f"violating{len(self._set_aside)}"
        self._table.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT unnest($1::BIGINT[]) AS row_", [rows]
        )
        return f"row_ IN (SELECT row_ FROM {name})"

    def _of_rows(self, check: DataCheck, expects: str, result: CheckResult) -> CheckResult:
        rows = self._table.rows
        low = rows if check.rows_min is None or expects == "rows_max" else check.rows_min
        high = rows if check.rows_max is None or expects == "rows_min" else check.rows_max
        return replace(result, passed=low <= rows <= high, measured=f"there are {rows:,}")

    def _of_freshness(self, check: DataCheck, column: Column, result: CheckResult) -> CheckResult:
        times = f"TRY_CAST({column.sql} AS TIMESTAMP)"
        if column.kind == "time":
            times = f"make_timestamp({column.micros})"
        (newest,) = self._table.one(
            f"SELECT epoch_us(max({times})) FROM {self._table.source} WHERE isfinite({times})"
        )
        if newest is None:
            return replace(result, passed=False, measured="it holds no time")
        age = self._surroundings.now.timestamp() - newest / 1e6
        passed = age <= duration(check.fresh).total_seconds()
        return replace(result, passed=passed, measured=f"the newest is of {moment(newest)}")

    def _of_distance(self, check: DataCheck, column: Column, result: CheckResult) -> CheckResult:
        file = self._surroundings.versions.get(check.same_as)
        if file is None:
            if check.same_as == "newest":
                return replace(result, measured="there is no version yet")
            raise NotFound(f"Check 'same_as': there is no version '{check.same_as}'.")
        reference = self._open(file)
        known = reference.column(check.column)
        if known is None:
            return replace(result, passed=False, measured="that version has no such column")
        found = distance_between((reference, known), (self._table, column), check.distance)
        measured = f"the distance is {found:.3g}"
        return replace(result, passed=found <= check.distance_max, measured=measured)

    def _referred(self, check: DataCheck) -> tuple[OpenTable, Column]:
        dataset, _, name = check.references.partition(".")
        file = self._surroundings.datasets.get(dataset)
        if file is None:
            known = did_you_mean(dataset, self._surroundings.datasets)
            raise NotFound(f"Check 'references': there is no dataset '{dataset}'.{known}")
        table = self._open(file)
        column = table.column(name)
        if column is None:
            known = did_you_mean(name, [one.name for one in table.columns])
            raise NotFound(f"Check 'references': '{dataset}' has no column '{name}'.{known}")
        return table, column

    def _open(self, file: Path) -> OpenTable:
        if file not in self._others:
            opening = open_table(file, connection=self._table.connection)
            self._others[file] = self._opened.enter_context(opening)
        return self._others[file]

    def split(self, file: Path, good: Path, bad: Path) -> None:
        """Write the files of a table in two: the rows that are kept, and those set aside."""
        before = 0
        for one in files_of(file):
            name = one.relative_to(file) if file.is_dir() else None
            rows = as_written(one)
            ((count,),) = self._table.all(f"SELECT count(*) FROM {rows}")
            for to, condition in ((good, "NOT IN"), (bad, "IN")):
                self._write(rows, before, condition, to / name if name else to)
            before += count
        if before != self._table.rows:
            raise Invalid(
                f"'{file.name}' has {self._table.rows:,} rows of values and {before:,} of text, so "
                "none can be set aside. Write every row with the same number of columns."
            )

    def _write(self, rows: str, before: int, condition: str, to: Path) -> None:
        number = _free_name(self._table.columns)
        to.parent.mkdir(parents=True, exist_ok=True)
        kind = "csv, HEADER" if to.suffix.lower() == ".csv" else "parquet"
        self._table.connection.execute(
            f"COPY (SELECT * EXCLUDE ({number}) FROM (SELECT row_number() OVER () - 1 + {before} "
            f"AS {number}, * FROM {rows}) WHERE {number} {condition} "
            f"(SELECT row_ FROM set_aside)) TO {sql_text(to)} (FORMAT {kind})"
        )


def _free_name(columns: Sequence[Column]) -> str:
    """A name in SQL that no column has."""
    taken, name = {column.name.lower() for column in columns}, "row_"
    while name in taken:
        name += "_"
    return sql_name(name)


def _not_aside(check: DataCheck) -> Any:
    """The severity where no single row is wrong."""
    return "refuse" if check.severity == "quarantine" else check.severity


def _says(check: DataCheck, expects: str) -> str:
    """An expectation in words."""
    words = {
        "column": "is there",
        "type": f"holds {check.type}",
        "missing_max": f"at most {(check.missing_max or 0):.4g} missing",
        "min": f"at least {check.min}",
        "max": f"at most {check.max}",
        "values": f"one of {', '.join(map(str, check.values[:10]))}",
        "matches": f"matches {check.matches}",
        "unique": "is unique",
        "references": f"is in {check.references}",
        "fresh": f"not older than {check.fresh}",
        "same_as": f"distributed like {check.same_as} ({check.distance} ≤ {check.distance_max:g})",
        "rows_min": f"at least {check.rows_min} rows",
        "rows_max": f"at most {check.rows_max} rows",
        "sql": check.sql,
    }[expects]
    return f"{check.column}: {words}" if check.column else words
