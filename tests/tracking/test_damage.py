"""Any bytes as a piece of a series are points or refused, in little time and memory."""

import math
import struct
import tracemalloc
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.scope.within import within
from treadle.kernel.errors import Invalid
from treadle.tracking.history import thinned
from treadle.tracking.segments import (
    LARGEST,
    Points,
    compact,
    joined,
    pack,
    pack_arrays,
    split,
    unpack,
)

EDGES = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**53 + 1, 2**63 - 1]
WHOLE = st.sampled_from(EDGES) | st.integers(-(2**63), 2**63 - 1)
BROKEN = st.sampled_from([-2.5, -0.5, -0.0, 0.5, 1.5, 2.0, -(2.0**62), 5e-324]) | st.floats(
    -(2.0**62), 2.0**62
)
STEPS = WHOLE | BROKEN | st.integers(-3, 3)
VALUES = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324]) | st.floats()
Row = tuple[int | float, int, float]
ROWS = st.lists(st.tuples(STEPS, WHOLE, VALUES), max_size=40)


def packed(rows: list[Row]) -> bytes:
    return pack([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def bits(rows: list[Row]) -> list[tuple[Fraction, int, bytes]]:
    """Rows that are equal where they are the same, NaN and -0.0 included."""
    return [(Fraction(step), at, struct.pack("<d", value)) for step, at, value in rows]


PIECES = ROWS.map(packed).flatmap(lambda raw: st.sampled_from([raw, compact(unpack(raw))]))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(PIECES))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["change", "cut", "remove", "insert"]))
        if how == "change" and place < len(data):
            data[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del data[place:]
        elif how == "remove":
            del data[place : place + draw(st.integers(1, 8))]
        else:
            data[place:place] = draw(st.binary(max_size=8))
    return bytes(data)


@given(ROWS)
def test_every_way_to_pack_keeps_each_bit(rows: list[Row]) -> None:
    points = unpack(packed(rows))
    again = unpack(compact(points))
    assert bits(list(points.rows())) == bits(rows)
    assert bits(list(again.rows())) == bits(rows)
    assert bits(list(unpack(pack_arrays(again)).rows())) == bits(rows)
    assert [type(step) for step, _, _ in points.rows() if step == int(step)] == [int] * sum(
        r[0] == int(r[0]) for r in rows
    )


@given(ROWS)
def test_order_is_that_of_the_numbers_and_equal_steps_stay_as_they_came(rows: list[Row]) -> None:
    found = list(unpack(compact(unpack(packed(rows)))).in_order().rows())
    assert bits(found) == bits(sorted(rows, key=lambda row: row[0]))


@given(st.lists(PIECES, max_size=4))
def test_raw_and_compact_pieces_join(pieces: list[bytes]) -> None:
    parts = [unpack(piece) for piece in pieces]
    together = joined(parts)
    assert bits(list(together.rows())) == [row for part in parts for row in bits(list(part.rows()))]
    assert bits(list(unpack(compact(together)).rows())) == bits(list(together.rows()))


@given(STEPS)
@example(-(2.0**62))
def test_a_step_is_split_exactly(step: float) -> None:
    whole, rest = split(step)
    assert abs(rest) < 1
    assert Fraction(whole) + Fraction(rest) == Fraction(step)


@given(damaged() | st.binary(max_size=60).map(lambda tail: b"\x01\x02\x03\x00\x00\x00" + tail))
def test_damaged_bytes_are_points_or_refused(data: bytes) -> None:
    try:
        with within(2):
            points = unpack(data)
    except Invalid as error:
        assert "no packed piece of a metric series" in error.message
    else:
        assert {len(column) for column in points if column is not None} == {len(points)}
        assert len(list(points.in_order().rows())) == len(points)


@given(PIECES, st.data())
def test_no_beginning_of_a_piece_is_a_piece(piece: bytes, data: st.DataObject) -> None:
    with pytest.raises(Invalid):
        unpack(piece[: data.draw(st.integers(0, len(piece) - 1))])


@given(PIECES, st.binary(min_size=1, max_size=4))
def test_a_piece_ends_where_it_ends(piece: bytes, more: bytes) -> None:
    with pytest.raises(Invalid):
        unpack(piece + more)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
@pytest.mark.parametrize("count", [LARGEST, LARGEST + 1, 2**32 - 1])
def test_a_forged_count_costs_little(kind: int, count: int) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    plane = struct.pack("<I", len(bomb)) + bomb
    tracemalloc.start()
    with pytest.raises(Invalid), within(2):
        unpack(struct.pack("<BBI", 1, kind, count) + bytes(8) + plane * 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize(
    "step", [math.nan, math.inf, -math.inf, 2.0**63, -(2.0**64), 2**63, -(2**63) - 1]
)
@pytest.mark.parametrize("others", [[], [1], [0.5]])
def test_a_step_beyond_64_bits_is_refused(step: float, others: list[float]) -> None:
    with pytest.raises(Invalid):
        pack([*others, step], [0] * (len(others) + 1), [0.0] * (len(others) + 1))


def test_a_time_beyond_64_bits_is_refused_with_whole_steps() -> None:
    with pytest.raises(Invalid):
        pack([1], [2**63], [1.0])


def test_a_time_beyond_64_bits_is_refused_with_fractional_steps() -> None:
    with pytest.raises(Invalid):
        pack([0.5], [2**63], [1.0])


@pytest.mark.parametrize("rest", [math.nan, math.inf, 1e300, -2.0])
def test_a_fraction_that_is_none_is_refused(rest: float) -> None:
    one = np.array([1])
    with pytest.raises(Invalid):
        unpack(pack_arrays(Points(one, np.array([rest]), one, np.array([1.0]))))


@given(st.lists(VALUES, max_size=300), st.integers(4, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], wanted: int) -> None:
    count = len(values)
    columns = np.arange(count), np.zeros(count, np.int64), np.array(values, float)
    places = thinned(Points(columns[0], None, columns[1], columns[2]), wanted).tolist()
    kept = [values[place] for place in places]
    numbers = [value for value in values if value == value]
    assert len(places) <= max(wanted, 4)
    assert places == sorted(set(places))
    assert all(0 <= place < count for place in places)
    if count:
        assert {0, count - 1} <= set(places)
    if numbers:
        assert {min(numbers), max(numbers)} <= set(kept)
