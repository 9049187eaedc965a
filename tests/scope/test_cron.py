"""Schedules against a brute-force oracle that looks at every minute."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.scope.cron import due, parse

Field = tuple[str, set[int]]
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


@st.composite
def parts(draw: st.DrawFn, low: int, high: int) -> Field:
    """One part of a field, and the values it stands for, said without the code under test."""
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high + 2))
    return draw(
        st.sampled_from(
            [
                ("*", set(range(low, high + 1))),
                (f"{first}", {first}),
                (f"{first}-{last}", {v for v in range(low, high + 1) if first <= v <= last}),
                (f"*/{step}", {v for v in range(low, high + 1) if (v - low) % step == 0}),
                (f"{first}/{step}", {v for v in range(first, high + 1) if (v - first) % step == 0}),
                (
                    f"{first}-{last}/{step}",
                    {v for v in range(first, last + 1) if (v - first) % step == 0},
                ),
            ]
        )
    )


def fields(place: int) -> st.SearchStrategy[Field]:
    return st.lists(parts(*BOUNDS[place]), min_size=1, max_size=3).map(
        lambda found: (
            ",".join(text for text, _ in found),
            set[int]().union(*(values for _, values in found)),
        )
    )


@st.composite
def schedules(draw: st.DrawFn) -> list[Field]:
    """Five fields, with the day of month or of week unrestricted, so that all crons agree."""
    found = [draw(fields(place)) for place in range(5)]
    free = draw(st.sampled_from([2, 4]))
    found[free] = ("*", set(range(BOUNDS[free][0], BOUNDS[free][1] + 1)))
    return found


def matches(moment: datetime, found: list[Field]) -> bool:
    minutes, hours, days, months, weekdays = (values for _, values in found)
    on_weekday = any(day % 7 == (moment.weekday() + 1) % 7 for day in weekdays)
    return (
        moment.minute in minutes
        and moment.hour in hours
        and moment.day in days
        and moment.month in months
        and on_weekday
    )


@given(schedules())
def test_a_field_stands_for_its_values(found: list[Field]) -> None:
    assert list(parse(" ".join(text for text, _ in found))) == [values for _, values in found]


@settings(max_examples=150, deadline=None)
@given(
    schedules(),
    st.datetimes(datetime(2023, 12, 1), datetime(2024, 3, 5), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=2)),
)
@example(
    [("0", {0}), ("0", {0}), ("29", {29}), ("2", {2}), ("*", set(range(8)))],
    MONDAY + timedelta(days=58),
    timedelta(days=1),
)
@example(
    [("0", {0}), ("0", {0}), ("*", set(range(1, 32))), ("*", set(range(1, 13))), ("7", {7})],
    MONDAY + timedelta(days=5),
    timedelta(days=1),
)
def test_it_is_due_when_one_of_the_minutes_matches(
    found: list[Field], after: datetime, span: timedelta
) -> None:
    minute = (after + timedelta(minutes=1)).replace(second=0, microsecond=0)
    expected = False
    while minute <= after + span and not expected:
        expected = matches(minute, found)
        minute += timedelta(minutes=1)
    assert due(" ".join(text for text, _ in found), after, after + span) == expected


def test_the_start_is_not_counted_and_the_end_is() -> None:
    assert not due("0 3 * * *", MONDAY.replace(hour=3), MONDAY.replace(hour=23))
    assert due("0 3 * * *", MONDAY, MONDAY.replace(hour=3))
    assert not due("0 3 * * *", MONDAY, MONDAY.replace(hour=2, minute=59, second=59))


def test_nothing_is_due_in_no_time() -> None:
    assert not due("* * * * *", MONDAY, MONDAY)
    assert not due("* * * * *", MONDAY + timedelta(days=1), MONDAY)


def test_sunday_is_0_and_7() -> None:
    sunday = MONDAY - timedelta(days=1)
    for day in ("0", "7", "5-7"):
        assert due(f"0 12 * * {day}", sunday, sunday + timedelta(days=1))
    assert not due("0 12 * * 1-6", sunday, sunday + timedelta(days=1))


def test_a_day_that_never_comes_is_never_due() -> None:
    assert not due("0 0 30 2 *", MONDAY, MONDAY + timedelta(days=3_000))


def test_a_day_of_month_and_a_day_of_week_are_alternatives_as_in_cron() -> None:
    saturday_13th, friday_19th = (
        datetime(2024, 1, 13, tzinfo=UTC),
        datetime(2024, 1, 19, tzinfo=UTC),
    )
    for day in (saturday_13th, friday_19th):
        assert due("0 12 13 * 5", day, day + timedelta(days=1))
    assert not due(
        "0 12 13 * 5", saturday_13th + timedelta(days=1), saturday_13th + timedelta(days=2)
    )


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "'' is not a schedule: cron has five fields, such as '0 3 * * 1'."),
        ("0 3 * *", "cron has five fields"),
        ("60 * * * *", "The minute '60' is outside 0 to 59."),
        ("* 24 * * *", "The hour '24' is outside 0 to 23."),
        ("* * 0 * *", "The day of month '0' is outside 1 to 31."),
        ("* * * 13 *", "The month '13' is outside 1 to 12."),
        ("* * * * 8", "The day of week '8' is outside 0 to 7."),
        ("*/x * * * *", "The minute '*/x' is not a number, a range such as 1-5"),
        ("* * * * mon", "The day of week 'mon' is not a number"),
        ("1,,2 * * * *", "The minute '1,,2' is not a number"),
        ("-1 * * * *", "The minute '-1' is not a number"),
    ],
)
def test_the_wrong_field_is_named(expression: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(expression)
    assert message in refused.value.message


@pytest.mark.parametrize("field", ["*/0", "5/0", "30-10"])
def test_a_step_of_nothing_and_a_range_backwards_are_refused(field: str) -> None:
    with pytest.raises(Invalid, match="minute"):
        parse(f"{field} * * * *")


@given(st.text() | st.text(alphabet="0123456789*/-, ").map("{} * * * *".format))
@example("1" * 5_000 + " * * * *")
@example("* * * * */" + "1" * 5_000)
def test_any_text_is_a_schedule_or_is_refused(text: str) -> None:
    try:
        found = parse(text)
    except Invalid:
        return
    for values, (low, high) in zip(found, BOUNDS, strict=True):
        assert values
        assert values <= set(range(low, high + 1))
