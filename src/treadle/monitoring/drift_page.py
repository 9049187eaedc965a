"""Draws what a comparison of two tables has found as HTML: a page by itself, and a table."""

from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, select_autoescape

from treadle.kernel import escaping

if TYPE_CHECKING:
    from treadle.monitoring.drift_report import CellShare, ColumnReport, DriftReport

PICTURES = 100
"""Columns that a page draws at most; drifted ones come first."""

_pages = Environment(
    loader=PackageLoader("treadle.monitoring"),
    autoescape=select_autoescape(),
    finalize=escaping.html,
)


class Bar(NamedTuple):
    """A cell of a column in a picture, which is 100 high.

    Attributes:
        cell: The cell, with its shares.
        before: Height of the reference's share.
        now: Height of the current share.
    """

    cell: "CellShare"
    before: float
    now: float


def page(report: "DriftReport") -> str:
    """Draw a report as a page without scripts, style sheets or pictures from elsewhere.

    Args:
        report: The report.

    Returns:
        HTML, with a picture of each drifted column.
    """
    return _pages.get_template("drift.html").render(
        report=report,
        columns=report.in_order(),
        drawn=[
            (name, column, _bars(column)) for name, column in report.in_order() if column.drifted
        ][:PICTURES],
    )


def table(report: "DriftReport") -> str:
    """Draw a report as a table for notebooks.

    Args:
        report: The report.

    Returns:
        HTML.
    """
    macros: Any = _pages.get_template("drift_table.html").module
    return str(macros.columns(report.summary(), report.in_order(), report.not_compared))


def _bars(column: "ColumnReport") -> list[Bar]:
    highest = max((max(one.before, one.now) for one in column.cells), default=0.0) or 1.0
    return [
        Bar(one, round(100 * one.before / highest, 2), round(100 * one.now / highest, 2))
        for one in column.cells
        if one.before or one.now
    ]
