"""The records of a spool's ``points-N``: one point each, in files that are mapped into memory."""

import mmap
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from treadle.tracking.segments import Points

RECORDS = 1 << 16
"""Records in one file of points."""
RECORD_BYTES = 32
WHOLE, BROKEN, VOID = 1, 2, 3
"""Kinds of record, in its last field: the step is whole, or has a fraction, or nothing was logged.

0 is a record that is not written yet.
"""
_RECORD = np.dtype(
    [("step", "<i8"), ("at", "<i8"), ("value", "<f8"), ("key", "<u4"), ("kind", "<u4")]
)
pack_whole = struct.Struct("<qqdII").pack_into
pack_broken = struct.Struct("<dqdII").pack_into


def new_page(file: Path) -> mmap.mmap:
    """Make a file of points, and map it into memory.

    Args:
        file: The file.

    Raises:
        OSError: The disk does not take the whole file.
    """
    with file.open("w+b") as handle:
        # Zeros are written, so that a full disk is an error here and no signal later.
        handle.write(bytes(RECORDS * RECORD_BYTES))
        handle.flush()
        return mmap.mmap(handle.fileno(), RECORDS * RECORD_BYTES)


def read_page(file: Path) -> npt.NDArray[Any]:
    """Read the records of a file of points, with the fields step, at, value, key and kind.

    Args:
        file: The file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    return np.fromfile(file, _RECORD)


def points_in(records: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return those of some records that hold a point.

    Args:
        records: Records of a file of points, of shape (records,).
    """
    held: npt.NDArray[Any] = records[(records["kind"] == WHOLE) | (records["kind"] == BROKEN)]
    return held


def columns_of(records: npt.NDArray[Any]) -> Points:
    """Return records as columns; broken steps become whole parts and fractions.

    Args:
        records: Records that hold points.
    """
    broken = records["kind"] == BROKEN
    whole = np.ascontiguousarray(records["step"])
    at = np.ascontiguousarray(records["at"])
    value = np.ascontiguousarray(records["value"])
    if not broken.any():
        return Points(whole, None, at, value)
    steps = np.where(broken, whole.view(np.float64), 0.0)
    fractions, whole_parts = np.modf(steps)
    return Points(np.where(broken, whole_parts.astype(np.int64), whole), fractions, at, value)
