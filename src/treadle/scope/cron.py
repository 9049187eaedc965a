"""Parses cron expressions and says when they are due.

An expression has five fields, read in UTC: minute, hour, day of month, month, day of week (0 and 7
are Sunday).
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from treadle.kernel.errors import Invalid

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = ("minute", "hour", "day of month", "month", "day of week")


def parse(expression: str) -> tuple[set[int], ...]:
    """Parse a cron expression.

    Args:
        expression: Five fields separated by blanks, such as ``0 3 * * 1``.

    Returns:
        The allowed values of each field, in the order of the fields.

    Raises:
        Invalid: There are not five fields, or one is malformed or out of range; the error names it.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise Invalid(
            f"'{expression}' is not a schedule: cron has five fields, such as '0 3 * * 1'."
        )
    return tuple(
        _field(text, *bounds)
        for text, *bounds in zip(fields, *zip(*_RANGES, strict=True), _NAMES, strict=True)
    )


def due(expression: str, after: datetime, until: datetime) -> bool:
    """Whether a schedule has a moment in (after, until].

    Args:
        expression: A cron expression.
        after: Start of the interval, in UTC and not part of it.
        until: End of the interval, in UTC and part of it.

    Raises:
        Invalid: The expression is malformed.
    """
    return next(moments(expression, after, until), None) is not None


def moments(expression: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the moments of a schedule in (after, until], the first first.

    Args:
        expression: A cron expression.
        after: Start of the interval, in UTC and not part of it.
        until: End of the interval, in UTC and part of it.

    Raises:
        Invalid: The expression is malformed.
    """
    minutes, hours, days, months, weekdays = parse(expression)
    weekdays = {day % 7 for day in weekdays}
    # Where both kinds of day are restricted, cron takes a day that fits either.
    either = not any(field.startswith("*") for field in expression.split()[2:5:2])
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment <= until:
        in_month_days = moment.day in days
        in_weekdays = moment.isoweekday() % 7 in weekdays
        on_day = (in_month_days or in_weekdays) if either else (in_month_days and in_weekdays)
        if not on_day or moment.month not in months:
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
        elif moment.hour not in hours:
            moment = moment.replace(minute=0) + timedelta(hours=1)
        elif moment.minute not in minutes:
            moment += timedelta(minutes=1)
        else:
            yield moment
            moment += timedelta(minutes=1)


def _field(text: str, low: int, high: int, name: str) -> set[int]:
    allowed: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d{1,4})(?:-(\d{1,4}))?)(?:/(\d{1,4}))?", part)
        if not match:
            raise Invalid(
                f"The {name} '{text}' is not a number, a range such as 1-5, a list, "
                "a step such as */15, or *."
            )
        start, end, step = (int(group) if group else None for group in match.groups())
        first = low if start is None else start
        last = end if end is not None else high if start is None or step else first
        if step == 0:
            raise Invalid(f"The {name} '{text}' has a step of 0; the smallest is 1.")
        if not low <= first <= last <= high:
            raise Invalid(f"The {name} '{text}' is outside {low} to {high}.")
        allowed |= set(range(first, last + 1, step or 1))
    return allowed
