"""Columns of any table as drift counts them: what they hold, a summary, counts over given bins."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.data.profile import count_labels, label_of

Holds = Literal["number", "time", "boolean", "text", "nothing"]
"""What a column holds: booleans are the numbers 0 and 1, times microseconds since 1970 in UTC."""
SUMMARY = 20_000
"""Values that a summary of numbers has at most."""


class Summary(NamedTuple):
    """Values of a column that stand for all of them.

    Attributes:
        values: Distinct values, ascending numbers or texts in any order; no missing ones.
        weights: How many rows each stands for.
    """

    values: NDArray[Any]
    weights: NDArray[np.float64]


class NumberCounts(NamedTuple):
    """A column of numbers, counted.

    Attributes:
        counts: Rows of the bins, then the missing ones.
        below: Sum of how far the finite numbers below the first edge are from it.
        above: Sum of how far those above the last edge are from it.
        std: Standard deviation of the finite numbers; NaN without any.
    """

    counts: NDArray[np.int64]
    below: float
    above: float
    std: float


class SourceColumn(Protocol):
    """One column of a table, wherever the table is."""

    @property
    def holds(self) -> Holds:
        """What it holds."""
        ...

    @abstractmethod
    def summary(self) -> Summary:
        """Return values that stand for all of them."""

    @abstractmethod
    def numbers(self, edges: NDArray[np.float64]) -> NumberCounts:
        """Count numbers between edges.

        Args:
            edges: Edges between bins, ascending and finite; a number that equals one lies above.
        """

    @abstractmethod
    def labels(self, labels: Sequence[str]) -> list[int]:
        """Count texts by label.

        Args:
            labels: Labels, with ``(other)`` and ``(missing)`` among them.
        """


class Source(NamedTuple):
    """A table whose columns can be counted.

    Attributes:
        rows: Number of rows.
        names: Names of the columns in their order.
        column: Gives the column at a place; with a half, every second row of it, from the first
            (0) or from the second (1).
        is_parallel: Whether several columns may be counted at the same time.
        values: Gives, of the column at a place, the values of the rows at some places, ascending
            and distinct: numbers with NaN, or texts with None.
    """

    rows: int
    names: list[str]
    column: Callable[[int, int | None], SourceColumn]
    is_parallel: bool
    values: Callable[[int, NDArray[np.int64]], NDArray[Any]]


class ArrayColumn:
    """A column in memory.

    Args:
        values: Array of shape (rows,) of any type.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self._values, self.holds = _normalised(values)

    @cached_property
    def _sorted(self) -> NDArray[Any]:
        return np.sort(self._values)  # NaN last

    @cached_property
    def _texts(self) -> Counter[Any]:
        return Counter(self._values.tolist())

    @cached_property
    def _finite(self) -> NDArray[Any]:
        first, last = np.searchsorted(self._sorted, [-np.inf], side="right")[0], self._present
        if self._sorted.dtype.kind == "f":
            last = int(np.searchsorted(self._sorted[:last], [np.inf])[0])
        return self._sorted[first:last]

    @property
    def _present(self) -> int:
        """How many numbers are not missing."""
        if self._sorted.dtype.kind != "f":
            return len(self._sorted)
        return int(np.searchsorted(self._sorted, [np.nan])[0])

    def summary(self) -> Summary:
        """Return evenly spaced order statistics, or every text."""
        if self.holds == "text":
            known = {v: n for v, n in self._texts.items() if label_of(v) is not None}
            texts: Counter[str] = Counter()
            for value, rows in known.items():
                texts[str(value)] += rows
            weights = np.array(list(texts.values()), dtype=np.float64)
            return Summary(np.array(list(texts), dtype=object), weights)
        finite = self._finite
        taken = min(SUMMARY, len(finite))
        places = np.arange(taken) * len(finite) // max(1, taken)
        values, counts = np.unique(finite[places].astype(np.float64), return_counts=True)
        weights = np.asarray(counts * (len(finite) / max(1, taken)), dtype=np.float64)
        return Summary(values, weights)

    def numbers(self, edges: NDArray[np.float64]) -> NumberCounts:
        """Count numbers between edges.

        Args:
            edges: Edges between bins, ascending and finite; a number that equals one lies above.
        """
        present = self._sorted[: self._present]
        places = np.searchsorted(present, edges)
        missing = len(self._sorted) - len(present)
        counts = np.diff(np.concatenate([[0], places, [len(present)]]))
        below = above = 0.0
        finite = self._finite
        with np.errstate(all="ignore"):
            if len(edges):
                low = finite[: np.searchsorted(finite, edges[0])]
                high = finite[np.searchsorted(finite, edges[-1]) :]
                below = float(len(low) * edges[0] - low.sum(dtype=np.float64))
                above = float(high.sum(dtype=np.float64) - len(high) * edges[-1])
            std = float(finite.std(dtype=np.float64)) if len(finite) else math.nan
        return NumberCounts(np.append(counts, missing).astype(np.int64), below, above, std)

    def labels(self, labels: Sequence[str]) -> list[int]:
        """Count texts by label.

        Args:
            labels: Labels, with ``(other)`` and ``(missing)`` among them.
        """
        return count_labels(self._texts, labels)

    def at(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of some rows: numbers with NaN, or texts with None.

        Args:
            places: The rows' places in the table (rows,), ascending and distinct.
        """
        if self.holds in ("text", "nothing"):
            found = [label_of(value) for value in self._values[places].tolist()]
            return np.array([*found, None], dtype=object)[:-1]
        return self._values[places].astype(np.float64)


def array_source(
    names: Sequence[Any],
    columns: Sequence[Callable[[], Any]],
    rows: int,
    *,
    is_parallel: bool = True,
) -> Source:
    """Make a source of columns in memory.

    Args:
        names: Names of the columns.
        columns: What gives each column's array; it is called when the column is counted.
        rows: Number of rows.
        is_parallel: Whether several may be called at the same time.
    """

    def column(place: int, half: int | None) -> ArrayColumn:
        values = columns[place]()
        return ArrayColumn(values if half is None else values[half::2])

    def at(place: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        return column(place, None).at(rows)

    return Source(rows, [str(name) for name in names], column, is_parallel, at)


def _normalised(values: Any) -> tuple[NDArray[Any], Holds]:
    """An array that can be sorted or counted, and what it holds."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if isinstance(values, np.ma.MaskedArray) and kind in "iufb":
        return plain(values), "boolean" if kind == "b" else "number"
    if isinstance(values, np.ma.MaskedArray) and kind == "M":
        values = values.filled(np.datetime64("NaT"))
    elif kind == "m":
        return np.where(np.isnat(values), np.nan, values / np.timedelta64(1, "s")), "number"
    elif kind not in ("b", "i", "u", "f", "M"):
        return _plain(values)
    if kind == "M":
        micros = values.astype("datetime64[us]")
        numbers = micros.astype(np.int64).astype(np.float64)
        numbers[np.isnat(micros)] = np.nan
        return numbers, "time"
    if kind == "b":
        return values.astype(np.uint8), "boolean"
    return (values.astype(np.float32) if values.dtype == np.float16 else values), "number"


def _micros(value: Any) -> float:
    """A date or a time as microseconds since 1970; without a zone it is in UTC."""
    if value is None or value != value:
        return math.nan
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (zoned - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)


def _plain(values: Any) -> tuple[NDArray[Any], Holds]:
    """A column of objects: numbers, moments, booleans, or texts."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    kinds = {type(value) for value in listed} - {type(None)}
    if kinds and kinds <= {bool}:
        numbers = [math.nan if value is None else float(value) for value in listed]
        return np.array(numbers), "boolean"
    if kinds and all(issubclass(kind, date) for kind in kinds):
        return np.array([_micros(value) for value in listed]), "time"
    if Decimal in kinds:
        listed = [float(value) if isinstance(value, Decimal) else value for value in listed]
    try:
        array = plain(np.array([*listed, None], dtype=object)[:-1])
    except OverflowError:  # whole numbers that no float holds
        array = np.array([None if v is None else str(v) for v in listed], dtype=object)
    if array.dtype.kind == "f":
        return array, "number"
    if all(label_of(value) is None for value in array):
        return array, "nothing"
    return array, "text"
