"""Summaries of a series' new points: how many, the last, and the extremes."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Invalid
from treadle.tracking import segments
from treadle.tracking.limits import check_key
from treadle.tracking.segments import Step, split, unpack

EARLIEST, LATEST = (
    to_micros(moment.replace(tzinfo=UTC)) for moment in (datetime.min, datetime.max)
)


class Column(NamedTuple):
    """A metric's points as lists, as they are when they come one by one."""

    steps: list[Step]
    at: list[int]
    values: list[float]


class Summary(NamedTuple):
    """What a series' row learns from new points."""

    points: int
    place: tuple[int, float, int]  # whole step, fraction, time of the last
    last: float
    low: float | None
    high: float | None

    def then(self, later: "Summary") -> "Summary":
        """Join with the summary of later points.

        Args:
            later: The summary of points that came after these.
        """
        newer = later if later.place >= self.place else self
        lows = [low for low in (self.low, later.low) if low is not None]
        highs = [high for high in (self.high, later.high) if high is not None]
        points = self.points + later.points
        return Summary(
            points, newer.place, newer.last, min(lows, default=None), max(highs, default=None)
        )


def of_column(key: str, column: Column) -> Summary:
    """Summarize points that came as lists.

    Args:
        key: The metric's key.
        column: Its new points, at least one.

    Raises:
        Invalid: The key is too long, or a point's time is in no calendar.
    """
    check_key("Metric", key)
    if len(column.values) == 1:
        value, at = column.values[0], column.at[0]
        _check_times(key, at, at)
        number = None if value != value else value
        return Summary(1, (*split(column.steps[0]), at), value, number, number)
    _check_times(key, min(column.at), max(column.at))
    places = [(*split(step), at) for step, at in zip(column.steps, column.at, strict=True)]
    last = max(range(len(places)), key=lambda place: (places[place], place))
    numbers = [value for value in column.values if value == value]
    low, high = min(numbers, default=None), max(numbers, default=None)
    return Summary(len(places), places[last], column.values[last], low, high)


def of_piece(key: str, piece: bytes) -> Summary:
    """Summarize points that came packed.

    Args:
        key: The metric's key.
        piece: Its new points as ``segments.pack`` makes them, at least one.

    Raises:
        Invalid: The key is too long, or a point's time is in no calendar.
    """
    check_key("Metric", key)
    points = unpack(piece)
    _check_times(key, int(points.at.min()), int(points.at.max()))
    rest = np.zeros(len(points)) if points.rest is None else points.rest
    last = (
        int(np.lexsort((points.at, rest, points.whole))[-1])
        if _unordered(points)
        else len(points) - 1
    )
    place = (int(points.whole[last]), float(rest[last]), int(points.at[last]))
    numbers = points.value[~np.isnan(points.value)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (None, None)
    return Summary(len(points), place, float(points.value[last]), low, high)


def _check_times(key: str, earliest: int, latest: int) -> None:
    if earliest < EARLIEST or latest > LATEST:
        raise Invalid(
            f"A point of metric '{key}' is of a time that no calendar has: it must be in the "
            "years 1 to 9999."
        )


def _unordered(points: segments.Points) -> bool:
    rising = points.rest is None and bool(np.all(points.whole[1:] >= points.whole[:-1]))
    return not (rising and bool(np.all(points.at[1:] >= points.at[:-1])))
