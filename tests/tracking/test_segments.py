"""Packed pieces of a series against plain lists."""

import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.tracking.segments import Points, compact, joined, pack, split, unpack

INT64 = st.integers(-(2**63), 2**63 - 1)
STEPS = INT64 | st.floats(-1e15, 1e15)
ROWS = st.lists(st.tuples(STEPS, INT64, st.floats()), max_size=60)
Row = tuple[int | float, int, float]


def packed(rows: list[Row]) -> bytes:
    return pack([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def same(found: list[Row], wanted: list[Row]) -> bool:
    return len(found) == len(wanted) and all(
        f[0] == w[0] and f[1] == w[1] and (f[2] == w[2] or (math.isnan(f[2]) and math.isnan(w[2])))
        for f, w in zip(found, wanted, strict=True)
    )


@given(ROWS)
def test_points_come_back_exactly(rows: list[Row]) -> None:
    assert same(list(unpack(packed(rows)).rows()), rows)


@given(ROWS)
def test_compacting_changes_nothing(rows: list[Row]) -> None:
    assert same(list(unpack(compact(unpack(packed(rows)))).rows()), rows)


@given(st.lists(ROWS, max_size=5))
def test_pieces_join_in_the_order_they_came(pieces: list[list[Row]]) -> None:
    together = joined([unpack(packed(piece)) for piece in pieces])
    assert same(list(together.rows()), [row for piece in pieces for row in piece])


@given(ROWS)
def test_order_is_by_step_and_then_as_they_came(rows: list[Row]) -> None:
    found = list(unpack(packed(rows)).in_order().rows())
    assert same(found, sorted(rows, key=lambda row: split(row[0])))


@given(
    st.binary(max_size=200)
    | ROWS.map(packed).flatmap(lambda good: st.binary(max_size=8).map(lambda b: b + good[3:]))
)
def test_what_is_no_piece_is_refused(data: bytes) -> None:
    try:
        unpack(data)
    except Invalid as error:
        assert "no packed piece" in error.message


def test_a_piece_that_would_blow_up_is_refused() -> None:
    bomb = zlib.compress(bytes(80_000_000))
    columns = bytes(8) + struct.pack("<I", len(bomb)) + bomb
    with pytest.raises(Invalid, match="does not fit its count"):
        unpack(struct.pack("<BBI", 1, 2, 10) + columns)


def test_a_realistic_curve_takes_at_most_12_bytes_a_point() -> None:
    count, random = 65_536, np.random.default_rng(0)
    at = 1_763_600_000_000_000 + np.cumsum(random.integers(9_000, 11_000, count))
    loss = 2 / (1 + np.arange(count) / 500) + random.normal(0, 0.05, count)
    assert len(compact(Points(np.arange(count), None, at, loss))) / count <= 12


@pytest.mark.parametrize("step", [math.nan, math.inf, 1e30])
def test_a_step_without_a_place_in_order_is_refused(step: float) -> None:
    with pytest.raises(Invalid, match="A step is a finite number"):
        pack([step], [0], [1.0])
