"""Stores data frames of pandas, Polars, Arrow or DuckDB as Parquet, and reads any of them back."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.engine import query_engine
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import one_file, sql_name


def is_frame(value: object) -> bool:
    """Whether a value is a table that can be stored as Parquet.

    Args:
        value: Any value.
    """
    libraries = ("pandas", "polars", "pyarrow", "duckdb", "_duckdb")
    return _library(value) in libraries and hasattr(value, "columns")


def write(frame: Any, file: Path) -> None:
    """Write a frame as one Parquet file, keeping the order of its rows.

    Args:
        frame: Frame of pandas, Polars, Arrow or DuckDB.
        file: Path of the file to write.

    Raises:
        Invalid: Two columns differ in case only.
    """
    if _library(frame) == "pyarrow":
        _refuse_twins(frame.column_names)
    else:
        _refuse_twins([str(name) for name in frame.columns])
    with query_engine() as connection:
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
    """Read a Parquet file as a frame.

    Args:
        file: Path of the file.
        kind: Class of frame to return, such as ``polars.DataFrame``; pandas by default. Nullable
            numbers come as float64 with NaN in pandas.
    """
    library = getattr(kind, "__module__", "").partition(".")[0] or "pandas"
    with query_engine() as connection:
        relation = connection.read_parquet(one_file(file))
        if library == "polars":
            return relation.pl()
        if library == "pyarrow":
            return relation.to_arrow_table()
        return _plain_numbers(relation.df())


def columns(file: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    """Read columns of a Parquet file as NumPy arrays.

    Args:
        file: Path of the file.
        names: Names of the columns.

    Returns:
        Arrays of shape (rows,) by name: numbers as float64 with NaN for null, text as objects with
            None for null.

    Raises:
        Invalid: The file lacks one of the columns.
    """
    with query_engine() as connection:
        relation = connection.read_parquet(one_file(file))
        missing = [name for name in names if name not in relation.columns]
        if missing:
            raise Invalid(
                f"The table has no column '{missing[0]}'. It has: {', '.join(relation.columns)}."
            )
        picked = relation.project(", ".join(map(sql_name, names))).fetchnumpy()
    return {name: plain(picked[name]) for name in names}


def plain(values: Any) -> NDArray[Any]:
    """Convert a column to a plain NumPy array of shape (rows,).

    Args:
        values: Column of any frame, or an array, maybe a masked one.

    Returns:
        Numbers and booleans as float64 with NaN for missing values; anything else as objects of
            ``str`` with None for missing values (None, NaN, NaT, pandas' NA).
    """
    array = np.asarray(_unmasked(values) if isinstance(values, np.ma.MaskedArray) else values)
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    listed = (array.astype("datetime64[us]") if array.dtype.kind == "M" else array).tolist()
    if set(map(type, listed)) <= {str}:
        return np.array(listed, dtype=object)
    cleaned = [None if _missing(value) else value for value in listed]
    present = [value for value in cleaned if value is not None]
    if present and all(isinstance(value, int | float) for value in present):
        return np.array([np.nan if value is None else float(value) for value in cleaned])
    return np.array([None if value is None else str(value) for value in cleaned], dtype=object)


def _unmasked(values: Any) -> NDArray[Any]:
    """A masked array with NaN, NaT or None in the place of masked values."""
    kind = values.dtype.kind
    if kind in "iufb":
        numbers: NDArray[Any] = values.data.astype(np.float64)
        numbers[np.ma.getmaskarray(values)] = np.nan
        return numbers
    others: NDArray[Any] = values.data.astype("datetime64[us]" if kind == "M" else object)
    others[np.ma.getmaskarray(values)] = None
    return others


def _missing(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and value != value)
    )


def _refuse_twins(names: list[str]) -> None:
    """Refuse columns that differ in case only: SQL cannot tell them apart."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise Invalid(
                f"The columns '{seen[name.lower()]}' and '{name}' differ in case only. "
                "Rename one of them."
            )
        seen[name.lower()] = name


def _plain_numbers(frame: Any) -> Any:
    """Nullable numbers of pandas as float64 with NaN, which every estimator takes."""
    nullable = [name for name in frame.columns if str(frame[name].dtype) in _NULLABLE]
    return frame.astype(dict.fromkeys(nullable, "float64"))


_NULLABLE = {f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)} | {
    "Float32",
    "Float64",
    "boolean",
}


def _library(frame: Any) -> str:
    return type(frame).__module__.partition(".")[0]
