"""Looks at a CSV file: its columns, and which task its label's values make."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from treadle.data.table_files import KINDS
from treadle.data.task import LabelValues, Told, fits, label_values, told_by
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.escaping import one_file, sql_name, sql_text
from treadle.scope.model import Task

FEWEST_ROWS = 20
MOST_COLUMNS = 25_000
"""Number of columns up to which a CSV file is read in less than a minute."""
ROWS_THAT_TELL = 20_000
"""Number of rows from whose values DuckDB tells the types of columns, and a few more."""
NUMERIC = ("BIGINT", "HUGEINT", "DOUBLE")


class Table(NamedTuple):
    """What a CSV file holds, as far as a first model needs to know.

    Attributes:
        text: Columns of text.
        numbers: Columns of numbers.
        left_out: Columns that are neither, and no inputs.
        label: The column that is to be predicted; None for anomalies that nobody has labelled.
        positive: Of two values, the one that becomes 1, as a literal of Python; None where the
            values are 0 and 1, or not two. Of anomalies the rarer, else the greater.
        task: What is predicted.
        id: The column that only names rows, or None.
        reason: Why it is that task.
        classes: How many classes there are; 0 for numbers.
        words: Whether the label is read as text.
        own_values: Columns of text with another value in each row, which tell no two rows alike;
            they are no inputs.
    """

    text: list[str]
    numbers: list[str]
    left_out: list[str]
    label: str | None
    positive: str | None
    task: Task
    id: str | None
    reason: str = ""
    classes: int = 2
    words: bool = False
    own_values: Sequence[str] = ()


class Dialect(NamedTuple):
    """How a CSV file is written. To find it out takes seconds where there are many columns.

    Attributes:
        options: Options of DuckDB's ``read_csv``, without those of columns.
        kinds: Type by column.
    """

    options: str
    kinds: dict[str, str]

    def read(self, csv: Path, kinds: Mapping[str, str], *, header: bool = True) -> str:
        """The SQL that reads the file.

        Args:
            csv: The file.
            kinds: Names of its columns, and the types that they are read as.
            header: Whether the first line is no row.
        """
        columns = ", ".join(f"{sql_text(name)}: {sql_text(kind)}" for name, kind in kinds.items())
        found = f"auto_detect = false, header = {str(header).lower()}, {self.options}"
        return f"read_csv({sql_text(one_file(csv))}, {found}, columns = {{{columns}}})"


def look_at(
    csv: Path, label: str | None, id: str | None, task: Task | None = None
) -> tuple[Table, Dialect]:
    """Return which columns of a CSV file are text or numbers, what its task is, and its dialect.

    Args:
        csv: A CSV file in UTF-8, with a header.
        label: The column that is to be predicted; None for anomalies that nobody has labelled.
        id: The column that only names rows; None for no such column.
        task: What is predicted; None to tell it from the label's values.

    Raises:
        NotFound: There is no such file.
        InDoubt: The label's values leave the task open.
        Invalid: The file cannot be read, a column is missing, or the label cannot be predicted.
    """
    if not csv.is_file():
        raise NotFound(f"There is no file '{csv}'.")
    _refuse_wide(csv)
    with duckdb.connect() as db:
        dialect, header, rows = _read(db, csv, label)
        kinds = dialect.kinds
        if rows < FEWEST_ROWS:
            count = "1 row" if rows == 1 else f"{rows or 'no'} rows"
            raise Invalid(
                f"'{csv}' has {count} below its header. To learn from some and to be judged on "
                f"others, a model needs at least {FEWEST_ROWS}."
            )
        _refuse_repeated(csv, [name for name in header if name])
        for column in (label, id):
            if column is not None and column not in kinds:
                raise Invalid(f"'{csv}' has no column '{column}'.{did_you_mean(column, kinds)}")
        values = None if label is None else label_values(db.table("labels"), label)
        told = _told(values, task)
        inputs = {column: kind for column, kind in kinds.items() if column not in (label, id)}
        numbers = [column for column, kind in inputs.items() if kind.startswith(NUMERIC)]
        words = [column for column, kind in inputs.items() if kind == "VARCHAR"]
        own = _own_values(db, dialect.read(csv, kinds), words)
    own = own if numbers or len(own) < len(words) else []  # something is to be learnt from
    text = [column for column in words if column not in own]
    taken = {*words, *numbers}
    left_out = [column for column in inputs if column not in taken]
    classes = 0 if values is None or told.task == "regression" else values.distinct
    table = Table(
        text,
        numbers,
        left_out,
        label,
        _positive(values, told.task) if values else None,
        told.task,
        id,
        told.reason,
        classes,
        values is not None and values.kind == "text",
        own,
    )
    return table, dialect


def copy_rows(csv: Path, dialect: Dialect, to: Path) -> None:
    """Write the rows with commas, quotes and a header, whatever the file used.

    Args:
        csv: The file.
        dialect: How it is written.
        to: The new file.
    """
    rows = dialect.read(csv, dict.fromkeys(dialect.kinds, "VARCHAR"))
    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT * FROM {rows}) TO {sql_text(to)} (HEADER)")


def _told_by_rows(db: duckdb.DuckDBPyConnection, csv: Path, *more: str) -> Dialect:
    asked = (f"auto_type_candidates = {KINDS}", "header = true", *more)
    ((columns, skip, *found),) = db.execute(
        "SELECT Columns, SkipRows, Delimiter, Quote, Escape, Comment, DateFormat, TimestampFormat "
        f"FROM sniff_csv({sql_text(one_file(csv))}, {', '.join(asked)})"
    ).fetchall()
    names = ("delim", "quote", "escape", "comment", "dateformat", "timestampformat")
    usual = {"quote": '"', "escape": '"'}  # where the rows looked at have none, later ones may
    given = {
        name: usual.get(name) if value == "(empty)" else value
        for name, value in zip(names, found, strict=True)
    }
    options = [f"{name} = {sql_text(value)}" for name, value in given.items() if value]
    kinds = {column["name"]: column["type"] for column in columns}
    return Dialect(", ".join([f"skip = {skip}", *options]), kinds)


def _read(
    db: duckdb.DuckDBPyConnection, csv: Path, label: str | None
) -> tuple[Dialect, tuple[str, ...], int]:
    """Read how a CSV file is written, its first line, and its number of rows.

    The label's values are kept as the table ``labels``.
    """
    try:
        dialect = _told_by_rows(db, csv)
        try:
            rows = _keep_labels(db, csv, label, dialect)
        except duckdb.Error:  # a value further down does not fit the types that the first rows have
            dialect = _told_by_rows(db, csv, "sample_size = -1")
            rows = _keep_labels(db, csv, label, dialect)
        plain = dialect.read(csv, dict.fromkeys(dialect.kinds, "VARCHAR"), header=False)
        header = next(iter(db.execute(f"FROM {plain} LIMIT 1").fetchall()), ())
    except duckdb.Error as error:
        reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
        raise Invalid(f"'{csv}' cannot be read as CSV in UTF-8: {reason[:300]}") from error
    return dialect, header, rows


def _keep_labels(
    db: duckdb.DuckDBPyConnection, csv: Path, label: str | None, dialect: Dialect
) -> int:
    """Keep the label's values as the table ``labels``. Returns the number of rows."""
    typed = dialect.read(csv, dialect.kinds)
    kept = sql_name(label) if label is not None and label in dialect.kinds else "1"
    db.execute(f"CREATE OR REPLACE TEMP TABLE labels AS SELECT {kept} FROM {typed}")
    ((rows,),) = db.execute("SELECT count(*) FROM labels").fetchall()
    if rows >= ROWS_THAT_TELL:
        db.execute(f"SELECT count(COLUMNS(*)) FROM {typed}").fetchall()
    return int(rows)


def _own_values(db: duckdb.DuckDBPyConnection, rows: str, columns: list[str]) -> list[str]:
    """Those of some columns that have another value in each row."""
    for part in (f"(FROM {rows} LIMIT {ROWS_THAT_TELL // 20})", rows):
        if columns:
            asked = ", ".join(f"count(DISTINCT {sql_name(name)}) = count(*)" for name in columns)
            (found,) = db.execute(f"SELECT {asked} FROM {part}").fetchall()
            columns = [name for name, own in zip(columns, found, strict=True) if own]
    return columns


def _told(values: LabelValues | None, task: Task | None) -> Told:
    """The task, and why it is that one."""
    if values is None:
        return Told("anomaly", "it is declared, and no column is named that tells anomalies")
    return fits(values, task) if task else told_by(values, say="--task {}")


def _positive(values: LabelValues, task: Task) -> str | None:
    """The value that becomes 1, as a literal of Python; None where no value must become it."""
    if task not in ("binary", "anomaly") or values.names == ["0", "1"]:
        return None
    name = values.rarest if task == "anomaly" else values.names[-1]
    return repr(name) if values.kind == "text" else name


def _refuse_wide(csv: Path) -> None:
    """Refuse more columns than a first model can take, before anything reads them."""
    with csv.open("rb") as file:
        header = re.sub(rb'"[^"]*"', b"", file.readline(1 << 28))
    columns = max(header.count(delimiter) for delimiter in (b",", b";", b"\t", b"|")) + 1
    if columns > MOST_COLUMNS:
        raise Invalid(
            f"'{csv}' has {columns:,} columns, and {MOST_COLUMNS:,} are the most. "
            "Leave out those that no model needs."
        )


def _refuse_repeated(csv: Path, header: list[str]) -> None:
    """Refuse columns of one name, which libraries tell apart in ways of their own."""
    seen: dict[str, str] = {}
    for name in header:
        if (same := seen.get(name.lower())) is not None:
            but_for = "" if same == name else " but for upper and lower case"
            raise Invalid(f"'{csv}' has two columns named '{name}'{but_for}. Rename one of them.")
        seen[name.lower()] = name
