"""Schedules in cron's five fields: minute, hour, day of month, month, day of week (0 and 7 are Sunday), in UTC."""

import re
from datetime import datetime, timedelta

from treadle.kernel.errors import Invalid

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES = ("minute", "hour", "day of month", "month", "day of week")


def parse(expression: str) -> tuple[set[int], ...]:
    """The allowed values of each field. Raises Invalid naming the field that is wrong."""
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
    """Whether the schedule has a moment in (after, until]."""
    minutes, hours, days, months, weekdays = parse(expression)
    weekdays = {day % 7 for day in weekdays}
    either = not any(
        field.startswith("*") for field in expression.split()[2:5:2]
    )  # both days restricted: cron takes either
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment <= until:
        of_month, of_week = moment.day in days, moment.isoweekday() % 7 in weekdays
        on_day = (of_month or of_week) if either else (of_month and of_week)
        if not on_day or moment.month not in months:
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
        elif moment.hour not in hours:
            moment = moment.replace(minute=0) + timedelta(hours=1)
        elif moment.minute not in minutes:
            moment += timedelta(minutes=1)
        else:
            return True
    return False


def _field(text: str, low: int, high: int, name: str) -> set[int]:
    allowed: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(?:\*|(\d{1,4})(?:-(\d{1,4}))?)(?:/(\d{1,4}))?", part)
        if not found:
            raise Invalid(
                f"The {name} '{text}' is not a number, a range such as 1-5, a list, a step such as */15, or *."
            )
        start, end, step = (int(group) if group else None for group in found.groups())
        first = low if start is None else start
        last = end if end is not None else high if start is None or step else first
        if step == 0:
            raise Invalid(f"The {name} '{text}' has a step of 0; the smallest is 1.")
        if not low <= first <= last <= high:
            raise Invalid(f"The {name} '{text}' is outside {low} to {high}.")
        allowed |= set(range(first, last + 1, step or 1))
    return allowed
