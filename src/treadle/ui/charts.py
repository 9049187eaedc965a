"""Pictures as SVG text, drawn on the server, so that pages, cards and reports share them."""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

COLOURS = ("#1565c0", "#9e9e9e", "#2e7d32", "#c62828", "#ef6c00", "#6a1b9a")


class Line(NamedTuple):
    """One line of a chart: a value per label, None where there is none."""

    name: str
    values: Sequence[float | None]


class Mark(NamedTuple):
    """Something that happened, at a place along the labels (1.5 is halfway between the second and the third)."""

    place: float
    symbol: str
    name: str
    colour: str


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
    """A line chart with marks along its foot. Every point and mark tells its value when pointed at."""
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

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<text x="{_LEFT}" y="18" font-size="15" font-weight="600" fill="currentColor">{escape(title)}</text>',
    ]
    parts += _grid(ticks, y, width)
    parts += [
        f'<text x="{x(i):.1f}" y="{height - _BOTTOM + 18}" text-anchor="middle" fill="currentColor">{escape(label)}</text>'
        for i, label in enumerate(labels)
    ]
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x(i), y(v), labels[i], v) for i, v in enumerate(line.values) if v is not None]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _, _ in points)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        )
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"><title>{escape(line.name)}, {escape(label)}: '
            f"{value:.4f}</title></circle>"
            for px, py, label, value in points
        ]
        left = _LEFT + 14 + number * 230
        parts.append(
            f'<rect x="{left - 14}" y="{height - 22}" width="10" height="10" fill="{colour}"/>'
        )
        parts.append(
            f'<text x="{left}" y="{height - 13}" fill="currentColor">{escape(line.name)}</text>'
        )
    for mark in marks:
        parts.append(
            f'<text x="{x(mark.place):.1f}" y="{_TOP + plot_height - 4}" text-anchor="middle" font-size="15" '
            f'fill="{mark.colour}">{escape(mark.symbol)}<title>{escape(mark.name)}</title></text>'
        )
    return "\n".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round values that span low to high."""
    raw = (high - low) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [place * step for place in range(first, last + 1)]


def _grid(ticks: Sequence[float], y: Callable[[float], float], width: int) -> list[str]:
    """A horizontal line with its value for each tick."""
    places = max(0, -math.floor(math.log10(ticks[1] - ticks[0])))
    return [
        f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#8884" />'
        f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="currentColor">{value:.{places}f}</text>'
        for value in ticks
    ]
