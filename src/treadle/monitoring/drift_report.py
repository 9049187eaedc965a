"""What a comparison of two tables has found, for people and for programs."""

from pathlib import Path
from typing import Any

from treadle.data.pairs import Kind, Pair
from treadle.kernel.entity import Entity, to_plain, to_text
from treadle.kernel.escaping import visible
from treadle.monitoring.joint_drift import JointDrift
from treadle.monitoring.judging import Judged
from treadle.stats.distances import hellinger, jensen_shannon, l_infinity


class CellShare(Entity):
    """How much of two tables is in one cell of a column.

    Attributes:
        cell: A range of numbers or dates, a category, ``(other)`` or ``(missing)``.
        before: Share of the reference's rows, from 0 to 1.
        now: Share of the current rows.
    """

    cell: str
    before: float
    now: float


class ColumnReport(Entity):
    """One column of two tables.

    Attributes:
        kind: What it was compared as: ``number``, ``date``, ``category``, ``text`` (its frequent
            values hold less than half of the rows), or ``empty``.
        drifted: Whether there is evidence of a change that is large enough.
        p: P-value that the column has not changed, valid for the numbers of rows at hand.
        adjusted_p: The p-value over all columns (Benjamini and Hochberg).
        effect: The population stability index without what chance alone gives on average.
        statistics: Distances by name: ``psi``, ``jensen_shannon`` (base 2), ``hellinger``,
            ``l_infinity``, ``chi2``, and of numbers and dates in tables
            ``kolmogorov_smirnov`` and ``wasserstein`` (in standard deviations of the reference).
        cells: The shares of rows in each cell.
    """

    kind: Kind
    drifted: bool
    p: float
    adjusted_p: float
    effect: float
    statistics: dict[str, float]
    cells: list[CellShare]

    @property
    def moved(self) -> list[CellShare]:
        """The cells whose share has changed, the largest change first; five at most."""
        changed = [one for one in self.cells if one.now != one.before]
        return sorted(changed, key=lambda one: -abs(one.now - one.before))[:5]


class DriftReport(Entity):
    """Two tables, compared column by column.

    Attributes:
        drifted: Whether any column has drifted, or all of them together.
        columns: What was found, by column.
        not_compared: Why columns were not compared, by name.
        reference_rows: Rows of the reference.
        current_rows: Rows of the current table.
        false_alarms: The declared probability of any false alarm.
        effect: The smallest effect that counted as drift.
        joint: What was found in all columns together; None where it was not asked for.
    """

    drifted: bool
    columns: dict[str, ColumnReport]
    not_compared: dict[str, str]
    reference_rows: int
    current_rows: int
    false_alarms: float
    effect: float
    joint: JointDrift | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, as JSON holds it."""
        found: dict[str, Any] = to_plain(self)
        return found

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return to_text(self)

    def html(self, path: str | Path) -> Path:
        """Write the report as a page that needs no other file.

        Args:
            path: Where to.

        Returns:
            The path.
        """
        from treadle.monitoring.drift_page import page  # late: its templates take a while

        written = Path(path)
        written.write_text(page(self), encoding="utf-8")
        return written

    def in_order(self) -> list[tuple[str, ColumnReport]]:
        """Return the columns, drifted ones first and then by their evidence."""
        return sorted(
            self.columns.items(), key=lambda one: (not one[1].drifted, one[1].p, -one[1].effect)
        )

    def summary(self) -> str:
        """Return the finding in a sentence."""
        drifted = sum(one.drifted for one in self.columns.values())
        rows = f"({self.reference_rows:,} reference rows, {self.current_rows:,} current rows)."
        together = f" {self.joint.summary()}" if self.joint else ""
        return f"{drifted} of {len(self.columns)} columns drifted {rows}{together}"

    def __str__(self) -> str:
        head = ("column", "kind", "drifted", "p", "adjusted p", "effect", "moved most")
        rows = [head, *(_row(name, column) for name, column in self.in_order())]
        widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        left_out = [
            f"Not compared: {in_line(n)}: {in_line(why)}." for n, why in self.not_compared.items()
        ]
        return "\n".join([self.summary(), "", *lines, *([""] if left_out else []), *left_out])

    def _repr_html_(self) -> str:
        from treadle.monitoring.drift_page import table

        return table(self)


def in_line(text: str) -> str:
    """Text that stays in its line, with all that cannot be seen written as its code.

    Args:
        text: Any text.
    """
    return visible(text).replace("\n", "\\n")


def moved_most(column: ColumnReport) -> str:
    """The cell that has moved most, with its shares before and now; empty where none has.

    Args:
        column: What was found in the column.
    """
    if not column.moved:
        return ""
    most = column.moved[0]
    return f"{in_line(shortened(most.cell))}: {most.before:.1%} -> {most.now:.1%}"


def column_report(pair: Pair, judged: Judged) -> ColumnReport:
    """Say what was found in a column.

    Args:
        pair: Its counts in both tables.
        judged: How they were judged.
    """
    first, second = pair.first.astype(float), pair.second.astype(float)
    statistics = {
        "psi": judged.psi,
        "jensen_shannon": jensen_shannon(first, second),
        "hellinger": hellinger(first, second),
        "l_infinity": l_infinity(first, second),
        "chi2": judged.chi2,
        **pair.distances,
    }
    rows = max(1.0, first.sum()), max(1.0, second.sum())
    return ColumnReport(
        kind=pair.kind,
        drifted=judged.drifted,
        p=judged.p,
        adjusted_p=judged.adjusted_p,
        effect=judged.effect,
        statistics=statistics,
        cells=[
            CellShare(cell=cell, before=float(a / rows[0]), now=float(b / rows[1]))
            for cell, a, b in zip(pair.cells, first, second, strict=True)
        ],
    )


def _row(name: str, column: ColumnReport) -> tuple[str, ...]:
    return (
        in_line(shortened(name)),
        column.kind,
        "yes" if column.drifted else "no",
        f"{column.p:.3g}",
        f"{column.adjusted_p:.3g}",
        f"{column.effect:.3g}",
        moved_most(column),
    )


def shortened(text: str) -> str:
    """A name in one line of 40 characters at most.

    Args:
        text: The name.
    """
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:39]}…"
