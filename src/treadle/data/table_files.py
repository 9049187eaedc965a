"""Reads tables that are CSV or Parquet files: their columns, their number of rows, and more."""

import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from treadle.data.engine import query_engine
from treadle.kernel.errors import NotFound
from treadle.kernel.escaping import one_file, sql_text

T = TypeVar("T")
KINDS = ["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR"]
"""Types that columns of a CSV file are read as; yes/no and true/false are text for all readers."""


def read_table(file: Path, read: Callable[[Any], T]) -> T | None:
    """Read something of a table.

    Args:
        file: A CSV or Parquet file, or a folder of them.
        read: Takes DuckDB's relation of the rows.

    Returns:
        What was read; None where the file is of another kind or cannot be read.
    """
    import duckdb  # late, as in treadle.data.engine

    with query_engine() as connection:
        try:
            relation = _relation(connection, file)
            return None if relation is None else read(relation)
        except duckdb.Error:
            return None


def columns_in(file: Path) -> list[str] | None:
    """Read the names of a file's columns.

    Args:
        file: A CSV or Parquet file, or a folder of them.

    Returns:
        None where the file is of another kind or cannot be read.
    """
    return read_table(file, lambda relation: list(relation.columns))


def rows_in(file: Path) -> int | None:
    """Count the rows of a file.

    Args:
        file: A CSV or Parquet file, or a folder of them.

    Returns:
        None where the file is of another kind or cannot be read.
    """
    return read_table(file, lambda relation: int(relation.aggregate("count(*)").fetchall()[0][0]))


_QUOTES = """quote = '"', escape = '"'"""
"""Not guessed: a column whose values are apostrophes would be taken for quoted by them."""


def as_written(file: Path) -> str:
    """Name the rows of a file, in SQL; every value of a CSV file is the text that was written.

    Args:
        file: A CSV file, else a Parquet file.

    Returns:
        What follows ``FROM``.
    """
    if file.suffix.lower() == ".csv":
        return f"read_csv({sql_text(one_file(file))}, all_varchar = true, header = true, {_QUOTES})"
    return f"read_parquet({sql_text(one_file(file))})"


def read_csv_sql(files: Sequence[Path], *options: str) -> str:
    """Name the rows of CSV files, in SQL; the types of columns are told from their values.

    Args:
        files: The files.
        options: Further options of DuckDB's ``read_csv``; without any, files have a header.

    Returns:
        What follows ``FROM``.
    """
    paths = ", ".join(sql_text(one_file(file)) for file in files)
    kinds = ", ".join(map(sql_text, KINDS))
    told = options or ("header = true",)
    more = ", ".join((f"auto_type_candidates = [{kinds}]", _QUOTES, *told))
    return f"read_csv([{paths}], {more})"


def files_of(file: Path) -> list[Path]:
    """List the files of a table, in the order of its rows; hidden ones are left out.

    Args:
        file: A file, or a folder of files.
    """
    if not file.is_dir():
        return [file]
    return sorted(
        path
        for path in file.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(file).parts)
    )


def files_named(source: str | Path) -> list[Path]:
    """The files that a path names, in the order of their names; hidden ones are left out.

    Args:
        source: A file, a folder of files, or a glob.

    Raises:
        NotFound: There is none.
    """
    path = Path(source)
    if path.exists():
        found = files_of(path)
    else:
        found = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]  # noqa: PTH207
    if not found:
        raise NotFound(f"There is no file '{source}'.")
    return found


def _relation(connection: Any, file: Path) -> Any:
    """A file's rows, or None where it is neither CSV nor Parquet."""
    files = files_of(file)
    kinds = {path.suffix.lower() for path in files}
    if kinds == {".csv"}:
        return connection.sql(f"SELECT * FROM {read_csv_sql(files)}")
    is_parquet = len(kinds) == 1 and kinds <= {".parquet", ".pq"}
    return connection.read_parquet([one_file(path) for path in files]) if is_parquet else None
