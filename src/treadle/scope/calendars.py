"""Hours of the week in a time zone, such as those in which people are on duty."""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from treadle.kernel.errors import Invalid

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PERIOD = re.compile(r"(\S+) (\d\d):(\d\d)-(\d\d):(\d\d)")
_DAY = timedelta(days=1)
_QUARTER = timedelta(minutes=15)
_DAYS_AHEAD = 16
"""Days within which a period begins again: two weeks, as a change of the clocks may skip one."""


class Period(NamedTuple):
    """Hours of some days of the week, by the clock on the wall.

    Attributes:
        days: Days on which it begins, 0 for Monday.
        start: First minute of it in minutes since midnight.
        end: Minute after the last one; not after ``start`` where it ends on the next day, and the
            same for a whole day.
    """

    days: frozenset[int]
    start: int
    end: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a weekday is in the period.

        Args:
            weekday: The day, 0 for Monday.
            minute: Minutes since midnight.
        """
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        begun_today = weekday in self.days and minute >= self.start
        begun_yesterday = (weekday - 1) % 7 in self.days and minute < self.end
        return begun_today or begun_yesterday


class Calendar(NamedTuple):
    """Periods of the week in one time zone.

    Attributes:
        periods: The periods.
        zone: Time zone whose clocks they are read on.
    """

    periods: tuple[Period, ...]
    zone: ZoneInfo

    def holds(self, moment: datetime) -> bool:
        """Whether a moment is in one of the periods, by the clock on the wall at that moment.

        Args:
            moment: An aware moment.
        """
        local = moment.astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        return any(period.holds(local.weekday(), minute) for period in self.periods)

    def next(self, moment: datetime) -> datetime:
        """The moment itself where it is in a period, else the first moment of the next period.

        Where the clocks are put forward over the start of a period, it begins when they are.

        Args:
            moment: An aware moment.
        """
        if self.holds(moment):
            return moment
        starts = [start for start in self._starts(moment) if start > moment and self.holds(start)]
        return min(starts)

    def _starts(self, moment: datetime) -> list[datetime]:
        """Moments at which a period may begin: its start, or a change of the clocks.

        Clocks change at whole quarters of an hour in UTC.
        """
        today: date = moment.astimezone(self.zone).date()
        found = []
        for ahead in range(-1, _DAYS_AHEAD):
            for period in self.periods:
                at = datetime.combine(today + ahead * _DAY, time(), self.zone)
                at = at.replace(hour=period.start // 60, minute=period.start % 60)
                found += [at.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
        quarter = moment.astimezone(UTC).replace(second=0, microsecond=0)
        quarter -= timedelta(minutes=quarter.minute % 15)
        count = _DAYS_AHEAD * _DAY // _QUARTER
        return [*found, *(quarter + step * _QUARTER for step in range(count))]


@lru_cache(maxsize=256)
def calendar(text: str) -> Calendar:
    """Parse a calendar.

    Args:
        text: Periods with semicolons between them, then the time zone: ``Mon-Fri 08:00-18:00
            Europe/Berlin``, or for all other hours ``Mon-Fri 18:00-08:00; Sat,Sun 08:00-08:00
            Europe/Berlin``. A period belongs to the day on which it begins.

    Raises:
        Invalid: The text is malformed, or there is no such time zone.
    """
    hours, _, zone = text.strip().rpartition(" ")
    periods = tuple(_period(part.strip(), text) for part in hours.split(";"))
    try:
        return Calendar(periods, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Invalid(
            f"'{text}' ends with no time zone: '{zone}'. Write one such as UTC or Europe/Berlin."
        ) from error


def _period(part: str, text: str) -> Period:
    match = _PERIOD.fullmatch(part)
    if match:
        days = frozenset(day for one in match[1].split(",") for day in _days(one))
        start, end = (int(match[at]) * 60 + int(match[at + 1]) for at in (2, 4))
        minutes_are_sound = int(match[3]) < 60 and int(match[5]) < 60
        if days and minutes_are_sound and start < 24 * 60 and 0 <= end <= 24 * 60:
            return Period(days, start, end)
    raise Invalid(
        f"'{text}' is no calendar at '{part}'. Write days, hours and a time zone, such as "
        "'Mon-Fri 08:00-18:00 Europe/Berlin'."
    )


def _days(text: str) -> list[int]:
    """The days of ``Mon`` or ``Fri-Mon``; none where a name is unknown."""
    first, _, last = text.partition("-")
    if first not in _DAYS or (last or first) not in _DAYS:
        return []
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    return [(start + step) % 7 for step in range((end - start) % 7 + 1)]
