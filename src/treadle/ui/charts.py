"""Draws charts as SVG text on the server, for pages and reports alike."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from treadle.kernel.escaping import xml

COLOURS = ("#1565c0", "#9e9e9e", "#2e7d32", "#c62828", "#ef6c00", "#6a1b9a")


class Line(NamedTuple):
    """One line of a chart.

    Attributes:
        name: The line's name, shown in the legend.
        values: A value per label; None where there is none.
    """

    name: str
    values: Sequence[float | None]


class Mark(NamedTuple):
    """Something that happened, shown on the chart's foot.

    Attributes:
        place: Where along the labels; 1.5 is halfway between the second and the third.
        symbol: The character that is drawn.
        name: The text that is shown when pointed at.
        colour: The symbol's colour, as CSS writes it.
    """

    place: float
    symbol: str
    name: str
    colour: str


class Point(NamedTuple):
    """One point of a scatter chart.

    Attributes:
        name: The point's name, written beside it.
        x: Its place from left to right.
        y: Its height.
        chosen: Whether it is drawn in colour, and joined to the other chosen ones.
    """

    name: str
    x: float
    y: float
    chosen: bool = False


_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 34, 16, 64


def line_chart(
    title: str,
    labels: Sequence[str],
    lines: Sequence[Line],
    marks: Sequence[Mark] = (),
    *,
    width: int = 860,
    height: int = 360,
) -> str:
    """Draw a line chart with marks along its foot.

    Every point and mark shows its value when pointed at.

    Args:
        title: The chart's title.
        labels: The labels below the chart, from left to right.
        lines: The lines.
        marks: What happened meanwhile.
        width: The width in pixels.
        height: The height in pixels.

    Returns:
        An SVG element.
    """
    values = [value for line in lines for value in line.values if value is not None] or [0.0, 1.0]
    low, high = min(values), max(values)
    size = max(1.0, abs(low), abs(high))
    pad = (high - low) * 0.1 if high - low > size * 1e-9 else size * 0.05
    ticks = _ticks(low - pad, high + pad)
    low, high = ticks[0], ticks[-1]
    plot_width, plot_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(place: float) -> float:
        return _LEFT + plot_width * (place + 0.5) / max(len(labels), 1)

    def y(value: float) -> float:
        return _TOP + plot_height * (high - value) / (high - low)

    ink = 'fill="currentColor"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{xml(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="18" font-size="15" font-weight="600" {ink}>{xml(title)}</text>',
    ]
    parts += _grid(ticks, y, width)
    parts += [
        f'<text x="{x(index):.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle" {ink}>'
        f"{xml(label)}</text>"
        for index, label in enumerate(labels)
    ]
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (x(index), y(value), labels[index], value)
            for index, value in enumerate(line.values)
            if value is not None
        ]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        )
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}">'
            f"<title>{xml(line.name)}, {xml(label)}: {value:.4f}</title></circle>"
            for px, py, label, value in points
        ]
        left = _LEFT + 14 + number * 230
        parts.append(
            f'<rect x="{left - 14}" y="{height - 22}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(f'<text x="{left}" y="{height - 13}" {ink}>{xml(line.name)}</text>')
    for mark in marks:
        parts.append(
            f'<text x="{x(mark.place):.1f}" y="{_TOP + plot_height - 4}" text-anchor="middle" '
            f'font-size="15" fill="{xml(mark.colour)}">{xml(mark.symbol)}'
            f"<title>{xml(mark.name)}</title></text>"
        )
    return "\n".join([*parts, "</svg>"])


def scatter_chart(
    title: str,
    across: str,
    up: str,
    points: Sequence[Point],
    *,
    width: int = 860,
    height: int = 420,
) -> str:
    """Draw named points; the chosen ones are joined by steps from left to right.

    Args:
        title: The chart's title.
        across: What goes from left to right.
        up: What goes up.
        points: The points.
        width: The width in pixels.
        height: The height in pixels.

    Returns:
        An SVG element.
    """
    columns, rows = (_spanned(values) for values in zip(*((p.x, p.y) for p in points), strict=True))
    plot_width, plot_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + plot_width * (value - columns[0]) / (columns[-1] - columns[0])

    def y(value: float) -> float:
        return _TOP + plot_height * (rows[-1] - value) / (rows[-1] - rows[0])

    ink = 'fill="currentColor"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{xml(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="18" font-size="15" font-weight="600" {ink}>{xml(title)}</text>',
        f'<text x="{_LEFT + plot_width / 2:.1f}" y="{height - 16}" text-anchor="middle" {ink}>'
        f"{xml(across)}</text>",
    ]
    parts += _grid(rows, y, width)
    parts += [
        f'<text x="{x(value):.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle" {ink}>'
        f"{value:g}</text>"
        for value in columns
    ]
    chosen = sorted((point for point in points if point.chosen), key=lambda point: point.x)
    path = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in chosen)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[0]}" opacity="0.5"/>')
    for point in points:
        colour = COLOURS[0] if point.chosen else COLOURS[1]
        left = x(point.x) < _LEFT + plot_width / 2
        place = f'x="{x(point.x) + (9 if left else -9):.1f}" y="{y(point.y) + 4:.1f}"'
        parts.append(
            f'<circle cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="5" fill="{colour}">'
            f"<title>{xml(point.name)}: {xml(across)} {point.x:g}, {xml(up)} {point.y:.4f}</title>"
            f'</circle><text {place} text-anchor="{"start" if left else "end"}" {ink}>'
            f"{xml(point.name)}</text>"
        )
    return "\n".join([*parts, "</svg>"])


def _spanned(values: Sequence[float]) -> list[float]:
    """Round values that span some numbers with room at both ends."""
    low, high = min(values), max(values)
    pad = (high - low) * 0.05 or max(1.0, abs(low)) * 0.05
    return _ticks(low - pad, high + pad)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round values that span low to high."""
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [multiple * step for multiple in range(first, last + 1)]


def _grid(ticks: Sequence[float], y: Callable[[float], float], width: int) -> list[str]:
    """A horizontal line with its value for each tick."""
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0])))
    return [
        f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
        f'stroke="#8884" /><text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" '
        f'fill="currentColor">{value:.{decimals}f}</text>'
        for value in ticks
    ]
