"""Release freezes: hours of every week, or days of a year, in which no rollout moves on."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from treadle.kernel.errors import Invalid

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEK = timedelta(days=7)
_WEEKLY = re.compile(r"(\w{3}) (\d\d):(\d\d)")


class Freeze(NamedTuple):
    """A time without releases, in UTC.

    Attributes:
        start: First moment of the freeze; of a weekly one, in some week.
        end: Moment after the last one of the freeze.
        weekly: Whether the freeze comes back every week.
    """

    start: datetime
    end: datetime
    weekly: bool

    @classmethod
    def read(cls, text: str, field: str = "freeze") -> "Freeze":
        """Parse a freeze.

        Args:
            text: ``Fri 15:00 to Mon 08:00``, or ``2026-12-20 to 2027-01-03`` with both days frozen
                whole.
            field: Name of the field in error messages.

        Raises:
            Invalid: The text is malformed.
        """
        first, to, last = text.partition(" to ")
        hours = _WEEKLY.fullmatch(first), _WEEKLY.fullmatch(last)
        try:
            if hours[0] and hours[1]:
                start, end = (_in_week(match) for match in hours if match)
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
        raise Invalid(
            f"Field '{field}': '{text}' is no time. "
            "Write it as 'Fri 15:00 to Mon 08:00' or '2026-12-20 to 2027-01-03'."
        )

    def until(self, moment: datetime) -> datetime | None:
        """When the freeze that holds at a moment ends, or None when it does not hold then.

        Args:
            moment: An aware moment.
        """
        if not self.weekly:
            return self.end if self.start <= moment < self.end else None
        length = self.end - self.start
        since_start = (moment - self.start) % _WEEK
        return moment - since_start + length if since_start < length else None


def _in_week(match: "re.Match[str]") -> datetime:
    """The moment of a day and time in some week."""
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    at = time.fromisoformat(f"{match[2]}:{match[3]}")
    return monday + timedelta(days=_DAYS.index(match[1]), hours=at.hour, minutes=at.minute)
