"""Tables as Parquet: any frame (pandas, Polars, Arrow, DuckDB) in, the frame that is asked for out."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid


def is_frame(value: object) -> bool:
    """Whether a value is a table that can be stored as Parquet."""
    return _library(value) in ("pandas", "polars", "pyarrow", "duckdb", "_duckdb") and hasattr(
        value, "columns"
    )


def write(frame: Any, file: Path) -> None:
    """Write any frame as one Parquet file, rows in their order."""
    _refuse_twins(
        [str(name) for name in frame.columns]
        if _library(frame) != "pyarrow"
        else frame.column_names
    )
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        if "duckdb" in _library(frame):
            relation = frame
        elif _library(frame) == "pandas":
            relation = connection.from_df(frame)
        else:
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
            raise Invalid(
                f"The table has no column '{missing[0]}'. It has: {', '.join(relation.columns)}."
            )
        picked = relation.project(", ".join(map(quoted, names))).fetchnumpy()
    return {name: plain(picked[name]) for name in names}


def plain(values: Any) -> NDArray[Any]:
    """A column as plain numpy: numbers and booleans as float64 with NaN for null, anything else as objects of ``str``.

    What is missing in a column of text (None, NaN, NaT, pandas' NA) is None.
    """
    if isinstance(values, np.ma.MaskedArray):
        numeric = values.dtype.kind in "iufb"
        holes = np.ma.getmaskarray(values)
        values = values.data.astype(
            np.float64 if numeric else "datetime64[us]" if values.dtype.kind == "M" else object
        )
        values[holes] = np.nan if numeric else None
    array = np.asarray(values)
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    listed = (array.astype("datetime64[us]") if array.dtype.kind == "M" else array).tolist()
    if set(map(type, listed)) <= {str}:
        return np.array(listed, dtype=object)
    present = [None if _missing(value) else value for value in listed]
    if any(value is not None for value in present) and all(
        value is None or isinstance(value, int | float) for value in present
    ):
        return np.array([np.nan if value is None else float(value) for value in present])
    return np.array([None if value is None else str(value) for value in present], dtype=object)


def quoted(name: str) -> str:
    """A column's name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def _missing(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and value != value)
    )


def _refuse_twins(names: list[str]) -> None:
    """Parquet through SQL cannot tell columns apart by case alone."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise Invalid(
                f"The columns '{seen[name.lower()]}' and '{name}' differ in case only. Rename one of them."
            )
        seen[name.lower()] = name


def _plain_numbers(frame: Any) -> Any:
    """pandas' nullable numbers as float64 with NaN: what every estimator takes."""
    nullable = [name for name in frame.columns if str(frame[name].dtype) in _NULLABLE]
    return frame.astype(dict.fromkeys(nullable, "float64"))


_NULLABLE = {f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)} | {
    "Float32",
    "Float64",
    "boolean",
}


def _library(frame: Any) -> str:
    return type(frame).__module__.partition(".")[0]
