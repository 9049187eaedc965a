"""Opens whatever holds a table, so that its columns can be counted: files, frames, arrays."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from treadle.data.columns import Source, array_source
from treadle.data.engine import query_engine
from treadle.data.file_columns import exact, file_source
from treadle.data.frames import is_frame
from treadle.data.opened_table import Column, open_table
from treadle.data.table_files import files_named
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import sql_name

TABLES = (
    "a frame of pandas, Polars, Arrow or DuckDB, a dict of arrays, an array (rows, columns), or a "
    "path or glob of CSV or Parquet files"
)
"""What can be opened, in words."""


@contextmanager
def open_source(table: Any, what: str) -> Iterator[Source]:
    """Open a table for counting.

    Args:
        table: A frame of pandas, Polars, Arrow or DuckDB, a dict of arrays by name, an array of
            shape (rows, columns), or a path, folder or glob of CSV or Parquet files.
        what: What the table is called in errors.

    Yields:
        The table's columns.

    Raises:
        Invalid: It is no table, or two columns have the same name.
        NotFound: There is no such file.
    """
    if isinstance(table, str | Path):
        with open_table(files_named(table)) as opened:
            yield _with_distinct_names(file_source(opened), what)
        return
    yield _with_distinct_names(_in_memory(table, what), what)


def _in_memory(table: Any, what: str) -> Source:
    if isinstance(table, Mapping):
        return _of_arrays({str(name): np.asarray(values) for name, values in table.items()}, what)
    if isinstance(table, np.ndarray) and table.ndim == 2:
        by_place = {str(place): table[:, place] for place in range(table.shape[1])}
        return _of_arrays(by_place, what, len(table))
    if not is_frame(table):
        shape = f" of shape {table.shape}" if isinstance(table, np.ndarray) else ""
        raise Invalid(f"The {what} is a {type(table).__name__}{shape}, which is no table. {_GIVE}")
    library = type(table).__module__.partition(".")[0]
    if library == "pandas":
        series = [_pandas(table, place) for place in range(table.shape[1])]
        return array_source(list(table.columns), series, len(table))
    if library == "polars":
        columns = [_through_duckdb(_polars(table, n)) for n in range(table.width)]
        return array_source(table.columns, columns, table.height)
    if library == "pyarrow":
        columns = [_through_duckdb(_arrow(table, n)) for n in range(table.num_columns)]
        return array_source(table.column_names, columns, table.num_rows)
    columns = [_relation(table, n) for n in range(len(table.columns))]
    ((count,),) = table.aggregate("count(*)").fetchall()
    return array_source(table.columns, columns, int(count), is_parallel=False)


def _of_arrays(arrays: dict[str, Any], what: str, rows: int | None = None) -> Source:
    lengths = {name: len(values) if values.ndim == 1 else -1 for name, values in arrays.items()}
    wrong = [name for name, length in lengths.items() if length < 0]
    if wrong:
        raise Invalid(
            f"Column '{wrong[0]}' of the {what} has no shape (rows,). Give one array a column."
        )
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"'{name}': {length}" for name, length in list(lengths.items())[:5])
        raise Invalid(f"The columns of the {what} have different numbers of rows: {listed}.")
    count = rows if rows is not None else next(iter(lengths.values()), 0)
    return array_source(list(arrays), [_constant(values) for values in arrays.values()], count)


def _constant(values: Any) -> Callable[[], Any]:
    return lambda: values


def _pandas(frame: Any, place: int) -> Callable[[], Any]:
    """A column of pandas: as NumPy has it where it has it, else through DuckDB."""
    series = frame.iloc[:, place]
    if isinstance(series.dtype, np.dtype):
        return _constant(series.to_numpy())
    if getattr(series.dtype, "tz", None) is not None:
        return lambda: series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    if series.dtype.kind in "iufb":
        missing = True if series.dtype.kind != "b" else None
        return lambda: (
            series.to_numpy(dtype=float, na_value=np.nan) if missing else _objects(series)
        )
    return lambda: _objects(series)


def _objects(series: Any) -> Any:
    """Values of any pandas column as objects, None where missing."""
    values = series.astype(object).to_numpy(dtype=object, copy=True)
    values[series.isna().to_numpy()] = None
    return values


def _polars(frame: Any, place: int) -> Callable[[], Any]:
    return lambda: frame.to_series(place).alias("c").to_frame()


def _arrow(table: Any, place: int) -> Callable[[], Any]:
    return lambda: table.select([place]).rename_columns(["c"])


def _relation(relation: Any, place: int) -> Callable[[], Any]:
    return lambda: _fetched(relation.project(f"{sql_name(relation.columns[place])} AS c"))


def _through_duckdb(column: Callable[[], Any]) -> Callable[[], Any]:
    """A column of a frame as an array, whatever its type; times are in UTC."""

    def read() -> Any:
        with query_engine() as connection:
            connection.register("frame", column())
            return _fetched(connection.table("frame"))

    return read


def _fetched(relation: Any) -> Any:
    """The only column of a relation, ``c``, as an array of numbers, moments, booleans or texts."""
    column = Column(0, "c", str(relation.types[0]))
    value = "CAST(c AS VARCHAR)"
    if column.kind == "number":
        value = f"CAST({exact('c', column.type)} AS DOUBLE)"
    elif column.kind == "time":
        value = "make_timestamp(epoch_us(c))"
    elif column.kind == "boolean":
        value = "c"
    return relation.project(f"{value} AS c").fetchnumpy()["c"]


def _with_distinct_names(source: Source, what: str) -> Source:
    twice = [name for name, count in Counter(source.names).items() if count > 1]
    if twice:
        raise Invalid(f"The {what} has two columns '{twice[0]}'. Rename one of them.")
    return source


_GIVE = f"Give {TABLES}."
