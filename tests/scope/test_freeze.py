"""Freezes hold when they say, every week or once."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.scope.freeze import Freeze

WEEKEND = Freeze.read("Fri 15:00 to Mon 08:00")
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(moments)
def test_a_weekly_freeze_holds_on_the_hours_it_names(moment: datetime) -> None:
    hour = moment.weekday() * 24 + moment.hour + moment.minute / 60
    frozen = hour >= 4 * 24 + 15 or hour < 8
    until = WEEKEND.until(moment)
    assert (until is not None) is frozen
    if until is not None:
        assert (until.weekday(), until.hour, until.minute, until.second) == (0, 8, 0, 0)
        assert timedelta() < until - moment <= timedelta(hours=65)


@given(moments, st.integers(0, 167), st.integers(1, 167))
def test_any_week_is_frozen_as_long_as_the_freeze_says(
    moment: datetime, start: int, hours: int
) -> None:
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    first, last = ((hour // 24 % 7, hour % 24) for hour in (start, start + hours))
    freeze = Freeze.read(f"{names[first[0]]} {first[1]:02}:00 to {names[last[0]]} {last[1]:02}:00")
    held = sum(freeze.until(moment + timedelta(hours=hour)) is not None for hour in range(168))
    assert held == hours


def test_days_are_frozen_whole() -> None:
    freeze = Freeze.read("2026-12-20 to 2026-12-21")
    assert freeze.until(datetime(2026, 12, 19, 23, 59, tzinfo=UTC)) is None
    assert freeze.until(datetime(2026, 12, 21, 23, 59, tzinfo=UTC)) == datetime(
        2026, 12, 22, tzinfo=UTC
    )
    assert freeze.until(datetime(2026, 12, 22, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "text", ["", "Fri", "Fri 15:00", "Fri 15:00 to", "Fry 15:00 to Mon 08:00",
             "Fri 25:00 to Mon 08:00", "Fri 15:61 to Mon 08:00", "2026-12-20 to 2026-12-19",
             "2026-13-01 to 2026-13-02", "2026-12-20 to Mon 08:00"]
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="Write it as"):
        Freeze.read(text)
