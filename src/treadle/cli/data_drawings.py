"""Draws profiles, checks, comparisons and leaks of tables for people."""

from typing import TYPE_CHECKING

from treadle.cli.output import BARS, console, print_table, show

if TYPE_CHECKING:
    from treadle.data.check_report import CheckReport
    from treadle.data.leakage import LeakReport
    from treadle.data.table_diff import TableDiff
    from treadle.data.table_profile import TableColumn, TableProfile

COLUMNS_SHOWN = 100
"""Columns of a table that the terminal shows; pages and JSON have all."""
STRONG = 0.8
"""Absolute correlation from which a pair is shown."""


def print_profile(profile: "TableProfile") -> None:
    """Print what the columns of a table hold.

    Args:
        profile: The profile.
    """
    rows = [
        (
            column.name,
            column.kind,
            share_of(column.missing, profile.rows),
            column.distinct,
            _extreme(column.min),
            column.mean,
            _extreme(column.max),
            bars_of(column),
            told_of(column, profile.rows),
        )
        for column in profile.columns[:COLUMNS_SHOWN]
    ]
    heads = ("column", "holds", "missing", "distinct", "min", "mean", "max", "values", "")
    print_table(f"{profile.rows:,} rows, {len(profile.columns):,} columns", heads, rows)
    if len(profile.columns) > COLUMNS_SHOWN:
        _say(f"… and {len(profile.columns) - COLUMNS_SHOWN:,} more: --json or --html shows all.")
    for pair in profile.correlations:
        if abs(pair.pearson) >= STRONG:
            _say(f"'{pair.first}' and '{pair.second}' are correlated: {pair.pearson:.3f}")
    for note in profile.notes:
        _say(note)


def profile_page(title: str, profile: "TableProfile") -> str:
    """Draw a profile as a page that needs no other file.

    Args:
        title: What was profiled.
        profile: The profile.

    Returns:
        HTML.
    """
    from treadle.ui.rendering import render

    columns = [
        {
            "column": column,
            "missing": share_of(column.missing, profile.rows),
            "told": told_of(column, profile.rows, top=0),
            "bars": heights_of(column),
            "top": [
                (one.value, one.rows, 100 * one.rows / max(1, profile.rows)) for one in column.top
            ],
        }
        for column in profile.columns
    ]
    return render(
        "profile.html",
        title=title,
        profile=profile,
        columns=columns,
        pairs=profile.correlations[:50],
    )


def print_checks(report: "CheckReport") -> None:
    """Print what checks have found.

    Args:
        report: What they have found.
    """
    rows = [
        (
            "passed" if one.passed else one.severity,
            one.says,
            one.violations or None,
            f"{one.share:.2%}" if one.violations else None,
            one.measured or "; ".join(_example(each.row, each.values) for each in one.examples[:3]),
        )
        for one in report.checks
    ]
    colours = {"passed": "green", "refuse": "red", "quarantine": "yellow", "warn": "yellow"}
    heads = ("", "check", "rows", "share", "found")
    print_table(f"{report.rows:,} rows", heads, rows, colours=colours)
    if report.quarantined:
        _say(f"{report.quarantined:,} rows are set aside.")


def print_diff(diff: "TableDiff") -> None:
    """Print how two tables differ.

    Args:
        diff: How they differ.
    """
    _say(
        f"{diff.old_rows:,} rows before, {diff.new_rows:,} after: {diff.added:,} added, "
        f"{diff.removed:,} removed, {diff.changed:,} changed."
    )
    for names, what in ((diff.columns_added, "added"), (diff.columns_removed, "removed")):
        for name in names:
            _say(f"Column '{name}' was {what}.")
    for one in diff.types_changed:
        _say(f"Column '{one.column}' was {one.old} and is {one.new}.")
    if diff.changed_by_column:
        print_table("", ("column", "changed rows"), list(diff.changed_by_column.items()))
    rows = [
        (
            one.kind,
            ", ".join(f"{name}={show(value)}" for name, value in one.key.items()),
            ", ".join(
                f"{name}: {show(change.old)} → {show(change.new)}"
                for name, change in one.changes.items()
            ),
        )
        for one in diff.examples
    ]
    if rows:
        print_table("", ("row", "key" if diff.by else "values", "change"), rows)


def print_leaks(report: "LeakReport") -> None:
    """Print what a model must not learn.

    Args:
        report: What was found.
    """
    for leak in report.leaks:
        _say(f"{leak.column}: {leak.says}.")
    if report.shared or report.nearly_shared:
        _say(
            f"{report.shared:,} rows of the holdout are learnt from, too; "
            f"{report.nearly_shared:,} with those that are nearly equal."
        )
    if report.repeated:
        _say(f"{report.repeated:,} rows repeat an earlier row.")
    for note in report.notes:
        _say(note)
    if report.is_clean:
        _say(f"No leak was found in {report.rows:,} rows.")


def share_of(rows: int, of: int) -> str:
    """A share as text; empty for none.

    Args:
        rows: Some rows.
        of: All rows.
    """
    return f"{rows / of:.2%}" if rows and of else ""


def bars_of(column: "TableColumn") -> str:
    """A column's histogram as a line of ten small bars, or its most frequent values.

    Args:
        column: The column.
    """
    if column.histogram is not None:
        counts = column.histogram.counts
        pairs = [sum(counts[place : place + 2]) for place in range(0, len(counts), 2)]
        most, top = max(pairs) or 1, len(BARS) - 1
        return "".join(
            BARS[max(1, round(count / most * top))] if count else BARS[0] for count in pairs
        )
    return ", ".join(f"{_short(show(one.value))} {one.rows:,}" for one in column.top[:3])


def heights_of(column: "TableColumn") -> list[float]:
    """The heights of a column's bars, 0 to 100; none without a histogram.

    Args:
        column: The column.
    """
    if column.histogram is None:
        return []
    most = max(column.histogram.counts) or 1
    return [round(100 * count / most, 2) for count in column.histogram.counts]


def told_of(column: "TableColumn", rows: int, *, top: int = 1) -> str:
    """What is odd about a column, in a few words.

    Args:
        column: The column.
        rows: Rows of the table.
        top: Whether lengths of texts are told, too (1), or not (0).
    """
    told = []
    if column.missing == rows and rows:
        told.append("empty")
    elif column.constant and rows > 1:
        told.append("constant")
    if column.unique:
        told.append("unique")
    if column.same_as:
        told.append(f"same as {_short(column.same_as)}")
    if column.not_finite:
        told.append(f"{column.not_finite:,} not finite")
    if top and column.lengths is not None:
        told.append(f"{column.lengths.min} to {column.lengths.max} characters")
    return ", ".join(told)


def _extreme(value: int | float | str | None) -> int | float | str | None:
    """A smallest or largest value; of a moment the day and the minute."""
    if not isinstance(value, str):
        return value
    return value[:16].removesuffix("T00:00").replace("T", " ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 24 else f"{line[:23]}…"


def _example(row: int, values: "dict[str, int | float | str | bool | None]") -> str:
    told = ", ".join(f"{name}={show(value)}" for name, value in values.items())
    return f"row {row}: {told}" if row >= 0 else told


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
