"""Columns of tables of any library: pandas, Polars, Arrow, DuckDB, or a mapping of arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.stats.classes import known_as, name_of, positions

Array = NDArray[Any]


def names_of(table: Any) -> list[str]:
    """The names of a table's columns.

    Args:
        table: A frame of pandas or Polars, an Arrow table, or a mapping of arrays.

    Raises:
        Invalid: It is none of these.
    """
    listed = getattr(table, "column_names", None)
    if listed is None:
        listed = table.keys() if isinstance(table, Mapping) else getattr(table, "columns", None)
    if listed is None:
        raise Invalid(
            f"A {type(table).__name__} is no table. Give a frame of pandas, Polars or Arrow, "
            "or a dict of arrays."
        )
    return [str(name) for name in listed]


def column(table: Any, name: str, what: str) -> Array:
    """A column as numbers, float64 with NaN, or as objects of ``str`` with None.

    Args:
        table: A frame of pandas or Polars, an Arrow table, or a mapping of arrays.
        name: The column's name.
        what: What the column is given as, for the message.

    Raises:
        Invalid: The table has no such column.
    """
    names = names_of(table)
    if name not in names:
        raise Invalid(
            f"The table has no column '{name}', which is given as {what}."
            f"{did_you_mean(name, names)} It has: {', '.join(names)}."
        )
    return plain(table[name])


def numbers(table: Any, name: str, what: str) -> NDArray[np.float64]:
    """A column of numbers (rows,), NaN where one is missing.

    Args:
        table: A table.
        name: The column's name.
        what: What the column is given as, for the message.

    Raises:
        Invalid: The table has no such column, or it holds something else.
    """
    values = column(table, name, what)
    if values.dtype == object and any(value is not None for value in values):
        example = next(value for value in values if value is not None)
        raise Invalid(
            f"The column '{name}', given as {what}, holds '{example}', which is no number."
        )
    return np.full(len(values), np.nan) if values.dtype == object else values


def times(table: Any, name: str) -> Array:
    """A column of moments (rows,), that sorts as time goes.

    Args:
        table: A table.
        name: The column's name.

    Raises:
        Invalid: The table has no such column, or a row has no time.
    """
    values = column(table, name, "timestamp")
    missing = [i for i, value in enumerate(values.tolist()) if value is None or value != value]
    if missing:
        raise Invalid(f"Row {missing[0]} has no time in the column '{name}'. Leave it out.")
    return values if values.dtype != object else values.astype(str)


def class_places(values: Array, name: str, classes: list[str], positive: object) -> Array:
    """The position of each row's class (rows,), NaN where it is missing.

    Args:
        values: A column.
        name: The column's name.
        classes: Names of the classes; ``["0", "1"]`` of two.
        positive: Which word is 1 of two classes; None where they are 0 and 1.

    Raises:
        Invalid: A row holds something else.
    """
    if positive is not None and classes == ["0", "1"]:
        wanted = known_as(positive)
        if values.dtype != object:
            return np.where(np.isnan(values), np.nan, values == wanted)
        known = {value: known_as(value) for value in set(values.tolist())}
        places = {v: np.nan if k is None else float(k == wanted) for v, k in known.items()}
        return np.array([places[value] for value in values.tolist()])
    if values.dtype == object or classes != ["0", "1"]:
        found = positions(values.tolist(), classes)
    else:
        found = np.where((values == 0) | (values == 1), values, np.nan)
    lost = values[np.isnan(found)]
    there = lost[~np.isnan(lost)] if lost.dtype != object else lost
    strange = next((value for value in there.tolist() if known_as(value) is not None), None)
    if strange is not None:
        advice = "Say which value is 1: positive=..." if len(classes) == 2 else "Name its score."
        raise Invalid(
            f"The column '{name}' holds '{name_of(strange)}', which is none of "
            f"{', '.join(classes)}. {advice}"
        )
    return found
