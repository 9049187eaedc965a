"""Describes interactive charts of series to ``static/charts.js``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from treadle.kernel.entity import to_text

MARKED = {"retrain": "--c4", "rollout": "--c3", "rollback": "--bad"}
"""What happened, and the colour of its mark in a chart."""


class Series(NamedTuple):
    """A line of a chart.

    Attributes:
        name: Its name in the legend.
        values: A number for each place; None where there is none.
        colour: A colour of the style sheet, such as ``--c1``; empty for the next one.
        dashed: Whether the line is dashed, as bounds and estimates are.
        dots: Whether each value is a dot, and no line joins them.
    """

    name: str
    values: Sequence[float | None]
    colour: str = ""
    dashed: bool = False
    dots: bool = False


class Happened(NamedTuple):
    """Something that happened, as a vertical line in a chart.

    Attributes:
        at: When.
        kind: A key of ``MARKED``.
        name: What is written beside it.
    """

    at: datetime
    kind: str
    name: str


def over_time(
    moments: Sequence[datetime],
    series: Sequence[Series],
    marks: Sequence[Happened] = (),
    *,
    band: tuple[int, int] | None = None,
) -> str:
    """Describe a chart over time as JSON.

    Args:
        moments: The places from left to right, ascending.
        series: The lines.
        marks: What happened meanwhile.
        band: Two lines, by their places in ``series``, between which the chart is shaded.
    """
    told = [
        {"at": mark.at.timestamp(), "name": mark.name, "colour": MARKED[mark.kind]}
        for mark in marks
    ]
    return _described([moment.timestamp() for moment in moments], series, told, band)


def over_steps(
    steps: Sequence[float],
    series: Sequence[Series],
    *,
    band: tuple[int, int] | None = None,
    label: str = "step",
) -> str:
    """Describe a chart over numbers, such as versions, as JSON.

    Args:
        steps: The places from left to right, ascending.
        series: The lines.
        band: Two lines, by their places in ``series``, between which the chart is shaded.
        label: What one place is called.
    """
    return _described(list(steps), series, [], band, steps=True, label=label)


def _described(
    x: list[float],
    series: Sequence[Series],
    marks: list[dict[str, Any]],
    band: tuple[int, int] | None,
    **more: Any,
) -> str:
    lines = [
        {"name": one.name, "values": one.values}
        | ({"colour": one.colour} if one.colour else {})
        | ({"dash": [5, 4]} if one.dashed else {})
        | ({"dots": True} if one.dots else {})
        for one in series
    ]
    return to_text({"x": x, "series": lines, "marks": marks, "band": band, "height": 220} | more)


def sparkline(
    values: Sequence[float | None], bound: float | None = None
) -> tuple[list[tuple[float, float]], float | None, tuple[float, float] | None]:
    """Place a small line of values in a box of 100 by 24.

    Args:
        values: The values in order; None where there is none.
        bound: A bound that is drawn as well.

    Returns:
        The points; the height of the bound; the last point. Nothing where there are no values.
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    if not known:
        return [], None, None
    shown = [value for _, value in known] + ([bound] if bound is not None else [])
    low, high = min(shown), max(shown)
    span = (high - low) or max(abs(high), 1.0) * 0.1

    def height(value: float) -> float:
        return round(21 - 18 * (value - low) / span, 1)

    across = max(len(values) - 1, 1)
    points = [(round(2 + 94 * place / across, 1), height(value)) for place, value in known]
    return points, None if bound is None else height(bound), points[-1]
