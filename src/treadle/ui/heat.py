"""Places the cells of a heat map of drift: columns of the data down, windows across."""

from collections.abc import Sequence
from typing import NamedTuple

from treadle.monitoring.model import ColumnDrift, Window
from treadle.serving.counting import PREDICTION

MOST_COLUMNS = 60
"""Columns that are drawn, those that moved most first."""
_STRENGTHS = (0.1, 0.25, 1.0)  # population stability indexes at which the colour changes
_LEFT, _ROW, _FOOT, _WIDTH = 170, 23, 26, 980


class Cell(NamedTuple):
    """One column in one window.

    Attributes:
        x: Its left edge.
        strength: 0 to 3: how far the column has moved.
        drifted: Whether the test over all columns rejects.
        says: The numbers in words.
    """

    x: int
    strength: int
    drifted: bool
    says: str


class Row(NamedTuple):
    """A column of the data over all windows."""

    name: str
    y: int
    cells: list[Cell]


class Tick(NamedTuple):
    """A date below the map."""

    x: int
    name: str


class HeatMap(NamedTuple):
    """The picture.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        left: Where the cells begin.
        size: Width of a cell.
        rows: The columns, those that moved most first.
        ticks: Dates below the map.
        left_out: Columns that are not drawn.
    """

    width: int
    height: int
    left: int
    size: int
    rows: list[Row]
    ticks: list[Tick]
    left_out: int


def drift_map(windows: Sequence[Window]) -> HeatMap:
    """Draw how far each column was from the training data in each window.

    Args:
        windows: The windows, oldest first.
    """
    pitch = max(8, min(26, (_WIDTH - _LEFT) // max(len(windows), 1)))
    by_column: dict[str, dict[int, ColumnDrift]] = {}
    for place, window in enumerate(windows):
        for one in window.drift:
            by_column.setdefault(one.column, {})[place] = one
    ranked = sorted(by_column, key=lambda name: (name != PREDICTION, -_moved(by_column[name])))
    rows = [
        Row(
            name,
            y * _ROW + 2,
            [
                _cell(one, windows[place], _LEFT + place * pitch)
                for place, one in by_column[name].items()
            ],
        )
        for y, name in enumerate(ranked[:MOST_COLUMNS])
    ]
    every = max(1, -(-70 // pitch))
    ticks = [
        Tick(_LEFT + place * pitch + pitch // 2, f"{window.start:%d %b}")
        for place, window in enumerate(windows)
        if place % every == 0
    ]
    width = _LEFT + len(windows) * pitch + 30
    height = len(rows) * _ROW + _FOOT
    return HeatMap(width, height, _LEFT, pitch - 2, rows, ticks, max(0, len(ranked) - MOST_COLUMNS))


def _moved(windows: dict[int, ColumnDrift]) -> float:
    return sum(one.psi for one in windows.values()) / len(windows)


def _cell(one: ColumnDrift, window: Window, x: int) -> Cell:
    moved = "drifted" if one.drifted else "not drifted"
    says = f"{one.column}, {window.start:%Y-%m-%d %H:%M}: PSI {one.psi:.3g}, p {one.p:.2g}, {moved}"
    return Cell(x, sum(one.psi >= bound for bound in _STRENGTHS), one.drifted, says)
