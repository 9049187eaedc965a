"""When nothing is released: hours of every week, or days of a year."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from treadle.kernel.errors import Invalid

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = timedelta(days=7)
_WEEKLY = re.compile(r"(\w{3}) (\d\d):(\d\d)")


class Freeze(NamedTuple):
    """A time without releases, in UTC: from ``start`` to before ``end``, once or every week."""

    start: datetime
    end: datetime
    weekly: bool

    @classmethod
    def read(cls, text: str, field: str = "freeze") -> "Freeze":
        """Read ``Fri 15:00 to Mon 08:00`` or ``2026-12-20 to 2027-01-03`` (both days are frozen whole)."""
        first, to, last = text.partition(" to ")
        hours = _WEEKLY.fullmatch(first), _WEEKLY.fullmatch(last)
        try:
            if hours[0] and hours[1]:
                start, end = (_in_week(found) for found in hours if found)
                return cls(start, end if end > start else end + _WEEK, weekly=True)
            if to:
                start, end = (
                    datetime.combine(date.fromisoformat(part), datetime.min.time(), UTC)
                    for part in (first, last)
                )
                if end >= start:
                    return cls(start, end + timedelta(days=1), weekly=False)
        except ValueError:
            pass
        wanted = "'Fri 15:00 to Mon 08:00' or '2026-12-20 to 2027-01-03'"
        raise Invalid(f"Field '{field}': '{text}' is no time. Write it as {wanted}.")

    def until(self, moment: datetime) -> datetime | None:
        """When the freeze that holds at a moment ends; None when none does."""
        if not self.weekly:
            return self.end if self.start <= moment < self.end else None
        since = (moment - self.start) % _WEEK
        return moment - since + (self.end - self.start) if since < self.end - self.start else None


def _in_week(found: "re.Match[str]") -> datetime:
    """The moment of a day and time in some week."""
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    at = time.fromisoformat(f"{found[2]}:{found[3]}")
    return monday + timedelta(days=_DAYS.index(found[1]), hours=at.hour, minutes=at.minute)
