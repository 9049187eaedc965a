"""Who is told when: calendars on the wall's clock, escalation, reminders, and late reading."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.incidents.conftest import START
from treadle.incidents.model import Incident
from treadle.incidents.routing import Planned, Told, key_of, plan
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.scope.alerting import IncidentPolicy, NotifyRoute
from treadle.scope.calendars import calendar
from treadle.scope.model import About, ProjectSpec

MINUTE = timedelta(minutes=1)
OPEN = Incident(
    id=1,
    project="p",
    endpoint="p",
    title="it burns",
    severity="page",
    state="open",
    opened_at=START,
    times_opened=1,
    began_at=START,
    last_at=START,
    acknowledged_at=None,
    acknowledged_by="",
    resolved_at=None,
    resolved_by="",
    roles={},
    alerts=[],
)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
OTHERWISE = "Mon-Fri 18:00-08:00; Sat,Sun 08:00-08:00"
"""All hours but those of work, Monday to Friday from 8 to 18."""
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")
CHANGES = {  # days on which clocks change, and one on which none does
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # by half an hour
    "Asia/Kolkata": ["2026-05-05"],
    "UTC": ["2026-05-05"],
}


def on_the_wall(moment: datetime, zone: str, day: str, start: str, end: str) -> bool:
    """Whether a clock on the wall shows a time of a day's period: by its texts alone."""
    shown = moment.astimezone(ZoneInfo(zone))
    yesterday = DAYS[(shown.weekday() - 1) % 7]
    now = f"{shown:%H:%M}"
    if start < end:
        return DAYS[shown.weekday()] == day and start <= now < end
    return (DAYS[shown.weekday()] == day and now >= start) or (yesterday == day and now < end)


@given(
    st.sampled_from(ZONES),
    st.sampled_from(DAYS),
    st.tuples(st.integers(0, 95), st.integers(0, 95)).filter(lambda pair: pair[0] != pair[1]),
    st.integers(0, 3 * 24 * 60),
    st.integers(0, 1),
)
@settings(max_examples=60)
def test_a_calendar_is_read_on_the_wall_also_when_the_clocks_change(
    zone: str, day: str, quarters: tuple[int, int], minute: int, which: int
) -> None:
    start, end = (f"{one // 4:02}:{one % 4 * 15:02}" for one in quarters)
    read = calendar(f"{day} {start}-{end} {zone}")
    changes = CHANGES[zone]
    noon = datetime.fromisoformat(f"{changes[which % len(changes)]}T12:00:00+00:00")
    moment = noon - timedelta(days=1, hours=12) + minute * MINUTE
    shows = partial(on_the_wall, zone=zone, day=day, start=start, end=end)
    assert read.holds(moment) == shows(moment)
    found = read.next(moment)
    by_quarters = moment
    while not shows(by_quarters):  # periods begin at quarters here, as clocks change
        by_quarters += MINUTE if by_quarters.minute % 15 else 15 * MINUTE
        assert by_quarters - moment < timedelta(days=9)
    assert found == by_quarters


@pytest.mark.parametrize(
    "text",
    [
        *("", "always", "Mon-Fri 08:00-18:00", "Mon-Fri 08:00-18:00 Mars/Phobos", "Mo 08:00-18:00"),
        *("Mon 08:60-09:00 UTC", "Mon 25:00-26:00 UTC", "Mon 8-18 UTC"),
        "Mon-Fri 08:00-18:00 ../../etc/passwd",
    ],
)
def test_what_is_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"calendar|time zone"):
        calendar(text)


def test_days_wrap_around_the_week() -> None:
    read = calendar("Fri-Mon 22:00-06:00; Wed 00:00-24:00 UTC")
    held = [day for day in range(7) if read.holds(START + timedelta(days=day, hours=23))]
    assert [DAYS[day] for day in held] == ["Mon", "Wed", "Fri", "Sat", "Sun"]


def spec_of(*routes: NotifyRoute, wait: str = "0s") -> ProjectSpec:
    policy = IncidentPolicy(wait=wait)
    return ProjectSpec(project=About(name="p"), incidents=policy, notify=[*routes])


def played(incident: Any, spec: ProjectSpec, minutes: int, step: int = 1) -> list[tuple[int, str]]:
    """What is told in a number of minutes: the minute it was due, and the change."""
    told: list[Told] = []
    ids: list[str] = []
    for minute in range(0, minutes + 1, step):
        now = START + minute * MINUTE
        state = incident(now) if callable(incident) else incident
        for one in plan(state, spec, told, now):
            told.append(Told(one.route, one.change, one.severity, one.due_at))
            ids.append(one.id)
    assert len(ids) == len(set(ids))
    return [((one.due_at - START) // MINUTE, one.change) for one in told]


def acknowledged_at(minute: int | None) -> Any:
    def at(now: datetime) -> Incident:
        if minute is None or now < START + minute * MINUTE:
            return OPEN
        when = START + minute * MINUTE
        return replace(OPEN, state="acknowledged", acknowledged_at=when, acknowledged_by="ada")

    return at


@given(st.integers(1, 90), st.none() | st.integers(0, 120), st.integers(1, 7))
@example(5, 6, 7)
@settings(max_examples=60)
def test_escalation_waits_for_nobody_and_skips_what_is_attended_to(
    after: int, acknowledged: int | None, step: int
) -> None:
    spec = spec_of(NotifyRoute(to="https://x", after=f"{after}m"))
    told = played(acknowledged_at(acknowledged), spec, 150, step)
    late = [] if acknowledged is None else [(acknowledged, "acknowledged")]
    looks = -(-after // step) * step  # when it is first looked at whether somebody has
    if acknowledged is not None and acknowledged <= looks:
        assert told == []
    else:
        assert told == [(after, "opened"), *late]


@given(st.integers(5, 60), st.none() | st.integers(0, 300), st.integers(1, 5))
@settings(max_examples=60)
def test_reminders_come_until_somebody_attends(
    every: int, acknowledged: int | None, step: int
) -> None:
    spec = spec_of(NotifyRoute(to="https://x", every=f"{every}m"))
    told = played(acknowledged_at(acknowledged), spec, 300, step)
    reminders = [minute for minute, change in told if change == "reminder"]
    end = 301 if acknowledged is None else acknowledged
    looks = [minute for minute in range(0, 301, step) if every <= minute < end]
    expected = sorted({minute // every * every for minute in looks})
    assert reminders == expected


@pytest.mark.parametrize(
    ("every", "reminded"), [("", [24, 48]), ("12h", [24, 48]), ("2d", [24, 48])]
)
def test_alertmanager_is_reminded_daily_of_what_is_not_resolved(
    every: str, reminded: list[int]
) -> None:
    spec = spec_of(NotifyRoute(to="alertmanager+http://x:9093", every=every))
    told = played(acknowledged_at(10), spec, 50 * 60, 10)
    hours = [minute // 60 for minute, change in told if change == "reminder"]
    assert hours == reminded


def test_a_route_tells_in_its_hours_and_another_has_the_night() -> None:
    day = NotifyRoute(to="https://day", during="Mon-Fri 08:00-18:00 Europe/Berlin")
    night = NotifyRoute(to="https://night", during=f"{OTHERWISE} Europe/Berlin")
    spec = spec_of(day, night)
    assert played(OPEN, spec, 24 * 60, 10) == [(0, "opened"), (7 * 60, "opened")]
    end = START + 60 * MINUTE
    over = replace(OPEN, state="resolved", resolved_at=end, resolved_by="treadle")
    told = played(lambda now: over if now >= end else OPEN, spec, 24 * 60, 10)
    assert told == [(0, "opened"), (60, "resolved")]


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.sampled_from(ZONES))
def test_two_calendars_share_the_week(moment: datetime, zone: str) -> None:
    aware = moment.replace(tzinfo=UTC)
    day = calendar(f"Mon-Fri 08:00-18:00 {zone}").holds(aware)
    assert day != calendar(f"{OTHERWISE} {zone}").holds(aware)


def test_a_route_that_was_told_of_a_ticket_is_told_that_it_pages() -> None:
    ticket = replace(OPEN, severity="ticket")
    spec = spec_of(
        NotifyRoute(to="https://all"), NotifyRoute(to="https://pages", severity=["page"])
    )
    rises = START + 10 * MINUTE
    told = played(lambda now: replace(OPEN, last_at=rises) if now >= rises else ticket, spec, 60)
    assert told == [(0, "opened"), (10, "raised"), (0, "opened")]


def test_who_is_down_for_a_time_reminds_once() -> None:
    route = NotifyRoute(to="https://x", every="10m")
    told = [Told(key_of(route), "opened", "page", START)]
    (one,) = plan(OPEN, spec_of(route), told, START + 65 * MINUTE)
    assert isinstance(one, Planned) and one.due_at == START + 60 * MINUTE
