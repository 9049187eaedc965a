"""Tables as Parquet: any frame (pandas, Polars, Arrow, DuckDB) in, the frame that is asked for out."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Field


def is_frame(value: object) -> bool:
    """Whether a value is a table that can be stored as Parquet."""
    library = type(value).__module__.partition(".")[0]
    return library in ("pandas", "polars", "pyarrow", "duckdb", "_duckdb") and hasattr(value, "columns")


def write(frame: Any, file: Path) -> None:
    """Write any frame as one Parquet file, rows in their order."""
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        relation = (
            frame if "duckdb" in type(frame).__module__ else connection.from_df(frame) if _pandas(frame) else None
        )
        if relation is None:
            connection.register("frame", frame)
            relation = connection.table("frame")
        relation.write_parquet(str(file), compression="zstd")


def read(file: Path, kind: Any = None) -> Any:
    """Read a Parquet file as the frame type ``kind``; as pandas when none is named."""
    library = getattr(kind, "__module__", "").partition(".")[0] or "pandas"
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(file))
        if library == "polars":
            return relation.pl()
        if library == "pyarrow":
            return relation.to_arrow_table()
        return _plain_numbers(relation.df())


def columns(file: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of a Parquet file by name, each (rows,): numbers as float64 with NaN where null, text as objects."""
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(file))
        missing = [name for name in names if name not in relation.columns]
        if missing:
            raise Invalid(f"The table has no column '{missing[0]}'. It has: {', '.join(relation.columns)}.")
        picked = relation.project(", ".join(f'"{name}"' for name in names)).fetchnumpy()
    return {name: plain(picked[name]) for name in names}


def plain(values: Any) -> NDArray[Any]:
    """A column as plain numpy: numbers and booleans as float64 with NaN for null, anything else as objects of ``str``."""
    if isinstance(values, np.ma.MaskedArray):
        numeric = values.dtype.kind in "iufb"
        holed: Any = values.astype(np.float64 if numeric else object)
        values = holed.filled(np.nan if numeric else None)
    array = np.asarray(values)
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    listed = array.tolist()
    if set(map(type, listed)) <= {str}:
        return np.array(listed, dtype=object)
    return np.array([None if value is None or value != value else str(value) for value in listed], dtype=object)


def model_columns(table: dict[str, NDArray[Any]], fields: list[Field]) -> Columns:
    """A table's columns as a model takes them: float32 numbers, text with '' where missing."""
    taken: dict[str, NDArray[Any]] = {}
    for field in fields:
        values = table[field.name]
        if field.kind == "number":
            taken[field.name] = values.astype(np.float32)
        else:
            taken[field.name] = np.array([value or "" for value in values.tolist()], dtype=object)
    return taken


def _plain_numbers(frame: Any) -> Any:
    """pandas' nullable numbers as float64 with NaN: what every estimator takes."""
    nullable = [name for name in frame.columns if str(frame[name].dtype) in _NULLABLE]
    return frame.astype(dict.fromkeys(nullable, "float64"))


_NULLABLE = {f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)} | {
    "Float32",
    "Float64",
    "boolean",
}


def _pandas(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "pandas"
