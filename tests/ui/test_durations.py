"""Durations are written in their largest two units."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.ui.durations import duration_of

SECONDS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.1234, "0.123 s"),
        (59.7, "1 min"),
        (125, "2 min 5 s"),
        (7_200, "2 h"),
        (86_400 + 300, "1 d"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_of(seconds) == text


@given(st.integers(0, 10**8))
def test_what_is_left_out_is_less_than_one_of_the_smaller_unit(seconds: int) -> None:
    parts = re.findall(r"(\d+) (\w+)", duration_of(seconds))
    told = sum(int(count) * SECONDS[unit] for count, unit in parts)
    units = [*SECONDS]
    next_unit = SECONDS[units[min(units.index(parts[0][1]) + 1, 3)]]
    assert 0 <= seconds - told < next_unit
