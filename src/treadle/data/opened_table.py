"""Opens a table of CSV or Parquet files for several queries, through SQL.

A CSV file is parsed once, into a Parquet file that lives as long as the table is open, so that each
further query reads only its own columns. Columns are addressed by position (``c0``, ``c1``), so
that any name is allowed.
"""

import csv
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

from treadle.data.engine import query_engine
from treadle.data.table_files import files_of, read_csv_sql
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.escaping import one_file, sql_name, sql_text

Cell = int | float | str | bool | None
"""A value of a table as JSON holds it; times are ISO 8601 texts, and what is neither is text."""
ColumnKind = Literal["number", "time", "boolean", "text"]
"""What a column holds, whatever its type is called: lists and other types count as text."""

LONGEST_CELL = 200
"""Characters of a text that results show at most."""
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_EPOCH = datetime(1970, 1, 1)
_WIDE = 500


class Column(NamedTuple):
    """A column of an open table.

    Attributes:
        place: Its position, from 0.
        name: Its name; case is kept.
        type: Its type as DuckDB names it.
    """

    place: int
    name: str
    type: str

    @property
    def kind(self) -> ColumnKind:
        """What it holds."""
        if self.type.removeprefix("U").startswith(_NUMBERS) and not self.type.endswith("]"):
            return "number"
        if self.type == "DATE" or (self.type.startswith("TIMESTAMP") and self.type[-1] != "]"):
            return "time"
        return "boolean" if self.type == "BOOLEAN" else "text"

    @property
    def is_float(self) -> bool:
        """Whether it can hold NaN and infinities."""
        return self.type in ("FLOAT", "DOUBLE")

    @property
    def sql(self) -> str:
        """The column in queries over a table's ``source``."""
        return f"c{self.place}"

    @property
    def text(self) -> str:
        """Its values as texts, in SQL; a time with a time zone is in UTC."""
        if self.type.startswith("TIMESTAMP") and self.kind == "time":
            return f"CAST(make_timestamp(epoch_us({self.sql})) AS VARCHAR)"
        return f"CAST({self.sql} AS VARCHAR)"

    @property
    def micros(self) -> str:
        """Its moments in microseconds since 1970, in SQL; infinite ones are missing."""
        moment = f"TRY_CAST({self.sql} AS TIMESTAMP)" if self.type == "DATE" else self.sql
        return f"CASE WHEN isfinite({moment}) THEN epoch_us({moment}) END"

    @property
    def shown(self) -> str:
        """Its values as results show them, in SQL: numbers and booleans as such, else text."""
        if self.kind == "boolean" or (self.kind == "number" and "HUGE" not in self.type):
            return f"CAST({self.sql} AS DOUBLE)" if "DECIMAL" in self.type else self.sql
        return f"left({self.text}, {LONGEST_CELL})"


class OpenTable(NamedTuple):
    """A table that queries can read.

    Attributes:
        connection: A connection of its own.
        source: What follows ``FROM``; its columns are ``c0``, ``c1`` and so on.
        named: The same with the columns' own names.
        columns: The columns in their order.
        rows: Number of rows.
    """

    connection: Any
    source: str
    named: str
    columns: list[Column]
    rows: int

    def one(self, query: str, values: list[Any] | None = None) -> tuple[Any, ...]:
        """The only row of a query's result.

        Args:
            query: SQL.
            values: Values of its parameters.
        """
        (row,) = self.all(query, values)
        return row

    def all(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query's result.

        Args:
            query: SQL.
            values: Values of its parameters.
        """
        rows: list[tuple[Any, ...]] = self.connection.execute(query, values or []).fetchall()
        return rows

    def reading(self, columns: Sequence[Column]) -> str:
        """What follows ``FROM`` for some of the columns; of a wide table the rest costs time.

        Args:
            columns: The columns that are read.
        """
        if len(self.columns) <= _WIDE or not all(column.name for column in columns):
            return self.source
        read = ", ".join(f"{sql_name(column.name)} AS {column.sql}" for column in columns)
        return f"(SELECT {read} FROM {self.named})"

    @property
    def numbered(self) -> str:
        """What follows ``FROM`` where rows need numbers: ``place``, from 0 in each file."""
        names = ", ".join([*(column.sql for column in self.columns), "place"])
        return f"{self.named.removesuffix(')')}, file_row_number = true) AS t({names})"

    def column(self, name: str) -> Column | None:
        """The column of a name.

        Args:
            name: The name.

        Returns:
            None where there is no such column.
        """
        return next((column for column in self.columns if column.name == name), None)


@contextmanager
def open_table(file: Path | Sequence[Path], *, connection: Any = None) -> Iterator[OpenTable]:
    """Open a table for queries, and close it at the end.

    Args:
        file: A CSV or Parquet file, a folder of files of one of these kinds, or a list of files.
        connection: A connection that several tables share; one of its own if not given.

    Yields:
        The table.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: The file is of another kind, or cannot be read as a table.
    """
    import duckdb  # late, as in treadle.data.engine

    files = [file] if isinstance(file, Path) else list(file)
    for one in files:
        if not one.exists():
            raise NotFound(f"There is no file or folder at '{one}'. Check the path.")
    with tempfile.TemporaryDirectory(prefix="treadle-table-") as folder, query_engine() as own:
        used = connection or own
        try:
            paths = _parquet_files(used, files, Path(folder, "rows.parquet"))
            reader = f"read_parquet([{', '.join(sql_text(one_file(path)) for path in paths)}])"
            described = used.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
            ((rows,),) = used.execute(f"SELECT count(*) FROM {reader}").fetchall()
        except duckdb.Error as error:
            raise Invalid(
                f"'{files[0].name}' cannot be read as a table: {reason(error)}"
            ) from error
        columns = [Column(place, str(row[0]), str(row[1])) for place, row in enumerate(described)]
        names = ", ".join(column.sql for column in columns)
        yield OpenTable(used, f"{reader} AS t({names})", reader, columns, rows)


def reason(error: Exception) -> str:
    """What a query engine's error says, in one line.

    Args:
        error: The error.
    """
    line = str(error).strip().split("\n", 1)[0]
    return line if len(line) <= 300 else f"{line[:300]} …"


def cell(value: Any) -> Cell:
    """A value as JSON and MessagePack hold it.

    Args:
        value: A value as DuckDB gives it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def number(value: Any) -> float | None:
    """A number as JSON holds it.

    Args:
        value: A number, or None.

    Returns:
        None where it is missing or not finite.
    """
    return float(value) if value is not None and math.isfinite(value) else None


def moment(micros: float | None) -> str | None:
    """A moment as ISO 8601 text.

    Args:
        micros: Microseconds since 1970, or None.
    """
    if micros is None:
        return None
    try:
        return (_EPOCH + timedelta(microseconds=round(micros))).isoformat()
    except OverflowError:
        return f"{micros / 1e6:.0f} s since 1970"


def _parquet_files(connection: Any, given: list[Path], made: Path) -> list[Path]:
    """The Parquet files of a table; rows of CSV files are written to ``made``."""
    import duckdb

    files = [path for one in given for path in files_of(one)]
    kinds = {path.suffix.lower() for path in files}
    if kinds and kinds <= {".parquet", ".pq"}:
        return files
    if kinds != {".csv"}:
        found = ", ".join(sorted(kinds)) or "no files"
        raise Invalid(
            f"'{given[0].name}' is no table: it holds {found}. Give CSV files, or Parquet files."
        )
    try:
        connection.execute(_converting(files, made, "header = true"))
    except duckdb.Error as error:
        try:  # a value further down does not fit the types that the first rows have
            connection.execute(_converting(files, made, "header = true", "sample_size = -1"))
        except duckdb.Error:
            copies, options = _without_headers(files, made.parent)
            if not copies:
                raise error from None
            connection.execute(_converting(copies, made, *options))
    return [made]


def _converting(files: list[Path], made: Path, *more: str) -> str:
    return (
        f"COPY (SELECT * FROM {read_csv_sql(files, *more)}) TO {sql_text(made)} "
        "(FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 61440)"
    )


def _without_headers(files: list[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Copies of CSV files whose names of columns hold new lines, which DuckDB takes for rows.

    Returns:
        The copies, which have no header, and options to read them; nothing where the files have no
            such names.
    """
    headers = set()
    for file in files:
        with file.open(newline="", encoding="utf-8", errors="replace") as text:
            reader = csv.reader(text)
            headers.add((tuple(next(reader, ())), reader.line_num))
    ((names, lines), *others) = headers
    if others or lines < 2 or len(set(names)) < len(names):
        return [], []
    copies = [folder / f"{place}.csv" for place in range(len(files))]
    for file, copy in zip(files, copies, strict=True):
        with file.open("rb") as source, copy.open("wb") as target:
            for _ in range(lines):
                source.readline()
            shutil.copyfileobj(source, target, 1 << 20)
    listed = ", ".join(map(sql_text, names))
    return copies, ["header = false", f"names = [{listed}]", "sample_size = -1"]
