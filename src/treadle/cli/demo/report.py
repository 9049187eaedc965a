"""What the demo shows at its end: a table in the terminal, and a page with plots in the home."""

from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from treadle.cli.demo.play import FROZEN, PROJECT, Moment, Month, Result
from treadle.cli.output import markup
from treadle.ui.charts import Line, Mark, line_chart
from treadle.ui.rendering import render

SIGNS = {
    "retrain": ("↻", "#1565c0", "cyan"),
    "promoted": ("▲", "#2e7d32", "green"),
    "refused": ("✖", "#c62828", "red"),
    "rolled back": ("▼", "#ef6c00", "yellow"),
    "accident": ("!", "#6a1b9a", "magenta"),
}


def tell(console: Console, at: datetime, kind: str, says: str) -> None:
    """Print one line about something that happened in the play.

    Args:
        console: Where it is printed.
        at: The played moment.
        kind: A key of ``SIGNS``.
        says: What happened.
    """
    sign, _, colour = SIGNS[kind]
    told = f"[{colour}]{sign} {kind}[/]: {markup(says)}"
    console.print(f"[dim]{at:%d %b}[/]  {told}", soft_wrap=True)


def print_result(console: Console, result: Result) -> None:
    """Print the table of months, and the sums.

    Args:
        console: Where they are printed.
        result: What the play showed.
    """
    table = Table(
        title="ROC AUC of what was really served, by month",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in (
        "month",
        "never retrained",
        "the loop's",
        "difference",
        "predictions",
        "what happened",
    ):
        table.add_column(
            column, justify="left" if column in ("month", "what happened") else "right"
        )
    for month in result.months:
        table.add_row(
            month.month, *_numbers(month), f"{month.predictions:,}", _signs(result, month)
        )
    console.print(table)
    console.print(
        f"\nMarch to December: {result.mean_auc_frozen:.4f} never retrained, "
        f"{result.mean_auc_loop:.4f} with the loop "
        f"({result.mean_auc_loop - result.mean_auc_frozen:+.4f}).\n"
        f"{result.predictions_served:,} predictions over HTTP, {result.lost_predictions} lost; "
        f"{result.retrains} retrains, {result.promotions} promotions, {result.refusals} refused, "
        f"{result.rollbacks} rolled back; {result.events} events, chain "
        f"{'intact' if result.chain_intact else 'BROKEN'}; {result.seconds:.0f} s."
    )


def write(result: Result) -> Path:
    """Write the report page into the home. Returns its path.

    Args:
        result: What the play showed.
    """
    chart = line_chart(
        "ROC AUC of served predictions",
        _names(result),
        [
            Line("the loop's model", [month.auc_loop for month in result.months]),
            Line("never retrained", [month.auc_frozen for month in result.months]),
        ],
        [_mark(moment) for moment in result.moments],
    )
    gain = line_chart(
        "What the loop gained over the model that was never retrained",
        _names(result),
        [Line("difference in ROC AUC", [_difference(month) for month in result.months])],
        height=220,
    )
    page = render(
        "report.html",
        result=result,
        chart=chart,
        gain=gain,
        signs=SIGNS,
        project=PROJECT,
        frozen=FROZEN,
    )
    file = Path(result.home) / "report.html"
    file.write_text(page, encoding="utf-8")
    return file


def _names(result: Result) -> list[str]:
    return [f"{datetime.fromisoformat(month.month + '-01'):%b}" for month in result.months]


def _numbers(month: Month) -> tuple[str, str, str]:
    difference = _difference(month)
    return (
        f"{month.auc_frozen:.4f}" if month.auc_frozen is not None else "—",
        f"{month.auc_loop:.4f}" if month.auc_loop is not None else "—",
        f"{difference:+.4f}" if difference is not None else "—",
    )


def _difference(month: Month) -> float | None:
    if month.auc_loop is None or month.auc_frozen is None:
        return None
    return month.auc_loop - month.auc_frozen


def _signs(result: Result, month: Month) -> str:
    mine = [moment for moment in result.moments if f"{moment.at:%Y-%m}" == month.month]
    return " ".join(f"[{SIGNS[m.kind][2]}]{SIGNS[m.kind][0]}[/]" for m in mine)


def _mark(moment: Moment) -> Mark:
    """A moment's mark along the months; a month starts half a place before its label."""
    start = datetime(moment.at.year, moment.at.month, 1, tzinfo=UTC)
    place = (moment.at.year - 2013) * 12 + moment.at.month - 2 + (moment.at - start).days / 31 - 0.5
    sign, colour, _ = SIGNS[moment.kind]
    return Mark(place, sign, f"{moment.at:%d %b}, {moment.kind}: {moment.says}", colour)
