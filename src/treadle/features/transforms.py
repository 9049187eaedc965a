"""Transforms on demand: the same function over the same arrays for training and for serving."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.features.views import FeatureView, Transform
from treadle.kernel.errors import Invalid


def column(values: Any, what: str = "") -> NDArray[Any]:
    """Convert values to the array that transforms take.

    Args:
        values: A sequence of Python values, or an array, maybe a masked one.
        what: What the values are, of which all may be missing: ``number``, ``moment`` or ``other``;
            empty where the values tell it.

    Returns:
        Shape (rows,): numbers and booleans as float64 with NaN for missing ones, moments as
            datetime64 in microseconds and UTC with NaT, anything else as objects with None.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        numbers = values.astype(np.float64)
        if isinstance(values, np.ma.MaskedArray):
            return np.where(np.ma.getmaskarray(values), np.nan, np.ma.getdata(numbers))
        return numbers
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        moments = np.ma.getdata(values).astype("datetime64[us]")
        return np.where(np.ma.getmaskarray(values), np.datetime64("NaT", "us"), moments)
    listed = [None if _is_missing(value) else value for value in _listed(values)]
    present = [value for value in listed if value is not None]
    if what == "number" or (not what and _are(present, (bool, int, float, np.number))):
        return np.array([np.nan if value is None else float(value) for value in listed])
    if what == "moment" or (not what and _are(present, (date,))):
        return np.array([_moment(value) for value in listed], dtype="datetime64[us]")
    made = np.empty(len(listed), dtype=object)
    made[:] = listed
    return made


def transforms_of(views: Sequence[FeatureView]) -> dict[str, Transform]:
    """The transforms of some views by the name of their column.

    Args:
        views: The views.

    Raises:
        Invalid: Two views have a transform of one name.
    """
    found: dict[str, Transform] = {}
    for view in views:
        for name, transform in view.on_demand.items():
            if name in found:
                raise Invalid(f"Two views have a transform '{name}'. Rename one of them.")
            found[name] = transform
    return found


def transformed(
    transforms: Mapping[str, Transform],
    frame: Mapping[str, Any],
    rows: int,
    what: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, NDArray[Any]]:
    """Compute the columns of transforms, each from the frame and the columns before it.

    Args:
        transforms: The transforms by the name of their column.
        frame: Values by column.
        rows: Number of rows.
        what: What columns hold, for those whose values do not tell it: see ``column``.

    Raises:
        Invalid: A transform fails, or gives another number of rows.
    """
    columns = _Columns({name: column(values, what.get(name, "")) for name, values in frame.items()})
    made = {}
    for name, transform in transforms.items():
        try:
            values = np.asarray(transform(columns))
        except Exception as error:
            raise Invalid(f"Transform '{name}' failed: {type(error).__name__}: {error}") from error
        if values.shape != (rows,):
            raise Invalid(
                f"Transform '{name}' gave the shape {values.shape} for {rows:,} rows. "
                "Return one value for each row."
            )
        made[name] = columns[name] = values
    return made


class _Columns(dict[str, Any]):
    """Columns by name, which says what is there where a transform asks for another one."""

    def __missing__(self, name: str) -> Any:
        raise Invalid(f"there is no column '{name}' but {', '.join(self)}")


def _are(values: list[Any], kinds: tuple[type, ...]) -> bool:
    """Whether there are values, and all of some kinds."""
    return bool(values) and all(isinstance(value, kinds) for value in values)


def _listed(values: Any) -> list[Any]:
    listed: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    return listed


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _moment(value: date | None) -> Any:
    if value is None:
        return np.datetime64("NaT", "us")
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")
