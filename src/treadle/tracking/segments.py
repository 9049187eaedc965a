"""Packs pieces of a metric series: raw when they arrive, compressed once they are compacted.

Layout: version, kind, count, then the columns ``step`` (whole part), ``rest`` (fraction, only where
a step has one), ``at`` (microseconds since 1970) and ``value``, little-endian. Compacted columns
are delta-coded and eight planes each, one per byte of a number, deflated or as they are, each
behind its length.
"""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from treadle.kernel.errors import Invalid

Step = int | float
LARGEST = 1 << 20
"""Points in one piece at most."""
_HEAD = struct.Struct("<BBI")
_LENGTH, _BASE = struct.Struct("<I"), struct.Struct("<Q")
_VERSION, _FRACTIONS, _COMPACT = 1, 1, 2
_AS_IT_IS, _ALL_THE_SAME = 0xFFFFFFFF, 0xFFFFFFFE


class Points(NamedTuple):
    """Points of a series, as columns of equal length.

    Attributes:
        whole: The whole part of each step.
        rest: What is left of each step, so that ``whole`` + ``rest`` is the step, exactly; None
            where all steps are whole.
        at: When each was measured, in microseconds since 1970.
        value: The measured values.
    """

    whole: npt.NDArray[np.int64]
    rest: npt.NDArray[np.float64] | None
    at: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def steps(self) -> npt.NDArray[Any]:
        """Steps as numbers: integers where all are whole, else floats."""
        return self.whole if self.rest is None else self.whole + self.rest

    def rows(self) -> Iterator[tuple[Step, int, float]]:
        """(step, microseconds, value) of each point; a step without a fraction is an int."""
        if self.rest is None:
            yield from zip(self.whole.tolist(), self.at.tolist(), self.value.tolist(), strict=True)
            return
        for whole, rest, at, value in zip(
            *(column.tolist() for column in self._columns), strict=True
        ):
            yield (whole + rest if rest else whole), at, value

    @property
    def _columns(self) -> list[npt.NDArray[Any]]:
        return [column for column in self if column is not None]

    def in_order(self) -> "Points":
        """By step; points of one step stay in the order they came."""
        steps = self.whole if self.rest is None else None
        if steps is not None and bool(np.all(steps[1:] >= steps[:-1])):
            return self
        keys = (self.whole,) if self.rest is None else (self.rest, self.whole)
        return self.at_places(np.lexsort(keys))

    def at_places(self, places: Any) -> "Points":
        """Take some of the points.

        Args:
            places: Indexes, or a slice; the points come in that order.
        """
        rest = None if self.rest is None else self.rest[places]
        return Points(self.whole[places], rest, self.at[places], self.value[places])


def split(step: Step) -> tuple[int, float]:
    """The whole part of a step and its fraction; their sum is the step, exactly.

    Args:
        step: The step.

    Raises:
        Invalid: The step is not finite, or its whole part is beyond 64 bits.
    """
    if isinstance(step, int):
        whole, rest = step, 0.0
    elif step == step and abs(step) < 2**63:
        rest, trunk = math.modf(step)
        whole = int(trunk)
    else:
        raise Invalid(f"A step is a finite number below 2^63, not {step}.")
    if not -(2**63) <= whole < 2**63:
        raise Invalid(f"Step {whole} is beyond 64 bits.")
    return whole, rest


def pack(steps: Sequence[Step], at: Sequence[int], values: Sequence[float]) -> bytes:
    """Pack points as they arrived.

    Args:
        steps: Step of each point.
        at: Time of each point, in microseconds since 1970.
        values: Value of each point.

    Returns:
        A raw piece.

    Raises:
        Invalid: A step is not finite, or a step or a time is beyond 64 bits.
    """
    count = len(values)
    try:
        if all(type(step) is int for step in steps):
            return _HEAD.pack(_VERSION, 0, count) + struct.pack(
                f"<{count}q{count}q{count}d", *steps, *at, *values
            )
        parts = [split(step) for step in steps]
        wholes, rests = [part[0] for part in parts], [part[1] for part in parts]
        body = struct.pack(f"<{count}q{count}d{count}q{count}d", *wholes, *rests, *at, *values)
    except struct.error as error:
        raise Invalid("A step or a time is beyond 64 bits.") from error
    return _HEAD.pack(_VERSION, _FRACTIONS, count) + body


def pack_arrays(points: Points) -> bytes:
    """Pack columns of any length.

    Args:
        points: The points.

    Returns:
        A raw piece.
    """
    kind = 0 if points.rest is None else _FRACTIONS
    columns = [
        column.astype(column.dtype.newbyteorder("<")).tobytes() for column in points._columns
    ]
    return _HEAD.pack(_VERSION, kind, len(points)) + b"".join(columns)


def compact(points: Points) -> bytes:
    """Pack columns as small as is cheap.

    Steps and times become differences; all bytes are grouped by place, deflated where that helps.

    Args:
        points: The points, in the order they came.

    Returns:
        A compact piece.
    """
    kind = _COMPACT | (0 if points.rest is None else _FRACTIONS)
    parts = [_HEAD.pack(_VERSION, kind, len(points))]
    for column in points._columns:
        coded = column
        if column.dtype == np.int64:
            coded, before = _differences(column)
            parts.append(_BASE.pack(before))
        for plane in coded.view(np.uint8).reshape(-1, 8).T:
            parts += _plane(plane.tobytes())
    return b"".join(parts)


def _differences(column: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """From each number to the next, and the number before the first.

    Even steps become one and the same difference.
    """
    found = np.diff(column, prepend=column[:1])
    found[:1] = found[1:2] if len(found) > 1 else 0
    return found, (int(column[0]) - int(found[0])) % 2**64 if len(column) else 0


def _plane(raw: bytes) -> tuple[bytes, bytes]:
    """One byte of each number, behind the length it takes.

    It is deflated, or, where that gains little and only costs readers time, as it is.
    """
    if raw and raw == raw[:1] * len(raw):
        return _LENGTH.pack(_ALL_THE_SAME), raw[:1]
    small = zlib.compress(raw, 6)
    return (
        (_LENGTH.pack(len(small)), small)
        if len(small) < 0.9 * len(raw)
        else (_LENGTH.pack(_AS_IT_IS), raw)
    )


def unpack(data: bytes) -> Points:
    """The points of a packed piece.

    Args:
        data: A raw or a compact piece.

    Raises:
        Invalid: It is no such piece, or is damaged.
    """
    try:
        version, kind, count = _HEAD.unpack_from(data)
        if version != _VERSION or kind > 3 or count > LARGEST:
            raise ValueError("unknown layout")
        columns = _inflated(data, kind, count) if kind & _COMPACT else _raw(data, kind, count)
    except (struct.error, ValueError, IndexError, zlib.error) as error:
        raise Invalid(f"This is no packed piece of a metric series: {error}.") from error
    whole, *rest, at, value = columns
    if rest and not bool(np.all(np.abs(rest[0]) < 1)):
        raise Invalid("This is no packed piece of a metric series: a step's fraction is none.")
    return Points(whole, rest[0] if rest else None, at, value)


def joined(pieces: Sequence[Points]) -> Points:
    """One series out of its pieces.

    Args:
        pieces: The pieces, in the order they came.
    """
    if not pieces:
        return Points(np.empty(0, np.int64), None, np.empty(0, np.int64), np.empty(0))
    if len(pieces) == 1:
        return pieces[0]
    fractions = any(piece.rest is not None for piece in pieces)
    rests = (
        [np.zeros(len(piece)) if piece.rest is None else piece.rest for piece in pieces]
        if fractions
        else []
    )
    return Points(
        np.concatenate([piece.whole for piece in pieces]),
        np.concatenate(rests) if fractions else None,
        np.concatenate([piece.at for piece in pieces]),
        np.concatenate([piece.value for piece in pieces]),
    )


def _types(kind: int) -> list[Any]:
    return (
        [np.int64, np.float64, np.int64, np.float64]
        if kind & _FRACTIONS
        else [np.int64, np.int64, np.float64]
    )


def _raw(data: bytes, kind: int, count: int) -> list[npt.NDArray[Any]]:
    types = _types(kind)
    if len(data) != _HEAD.size + 8 * count * len(types):
        raise ValueError("its length does not fit its count")
    at = [_HEAD.size + 8 * count * place for place in range(len(types))]
    return [
        np.frombuffer(data, kind, count, offset) for kind, offset in zip(types, at, strict=True)
    ]


def _inflated(data: bytes, kind: int, count: int) -> list[npt.NDArray[Any]]:
    offset, columns = _HEAD.size, []
    for column_type in _types(kind):
        before = 0
        if column_type is np.int64:
            (before,) = _BASE.unpack_from(data, offset)
            offset += _BASE.size
        planes = np.empty((count, 8), np.uint8)
        for place in range(8):
            (length,) = _LENGTH.unpack_from(data, offset)
            offset += _LENGTH.size
            plane, taken = _read_plane(data, offset, length, count)
            planes[:, place] = plane
            offset += taken
        column = planes.view(column_type).reshape(-1)
        if column_type is np.int64:
            column = np.cumsum(column, dtype=np.int64) + np.uint64(before).astype(np.int64)
        columns.append(column)
    if offset != len(data):
        raise ValueError("bytes are left over")
    return columns


def _read_plane(
    data: bytes, offset: int, length: int, count: int
) -> tuple[npt.NDArray[np.uint8] | int, int]:
    """A plane (or the one byte that it is made of), and how many bytes it took."""
    if length == _ALL_THE_SAME:
        return data[offset : offset + 1][0], 1
    taken = count if length == _AS_IT_IS else length
    plane = data[offset : offset + taken]
    if length != _AS_IT_IS:
        inflater = zlib.decompressobj()
        plane = inflater.decompress(plane, count or 1)
        if not inflater.eof:
            raise ValueError("a column's length does not fit its count")
    if len(plane) != count:
        raise ValueError("a column's length does not fit its count")
    return np.frombuffer(plane, np.uint8), taken
