"""The verbs of ``treadle monitor``: what is measured on files, without a home or a server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.estimating import estimate
from treadle.cli.output import Json, console, print_json, print_table
from treadle.cli.verbs import add_verbs

if TYPE_CHECKING:
    from treadle.monitoring.drift_report import ColumnReport, DriftReport

DRIFTED = 3
"""The exit code of ``drift --fail-on-drift`` where a column has drifted."""


def add_to(app: typer.Typer) -> None:
    """Add the group to the app.

    Args:
        app: The app.
    """
    about = "Compare tables with what they were, without a home or a server."
    group = typer.Typer(no_args_is_help=True, help=about)
    add_verbs(group, drift, estimate)
    app.add_typer(group, name="monitor")


def drift(
    reference: Annotated[
        str, typer.Option(help="The table to compare with: a CSV or Parquet file, folder or glob.")
    ],
    current: Annotated[str, typer.Option(help="The table that may have drifted.")],
    columns: Annotated[
        list[str] | None, typer.Option(help="A column to compare. Repeat it; all by default.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="The probability of any false alarm over all columns.")
    ] = 0.05,
    effect: Annotated[
        float, typer.Option(help="The smallest population stability index that counts.")
    ] = 0.1,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint", help="Compare all columns together, too; it takes half of --false-alarms."
        ),
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page, too.")] = None,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with 3 where a column has drifted.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare two tables column by column: which have drifted, by how much, and where.

    The exit code is 0; with --fail-on-drift it is 3 where a column has drifted. What cannot be
    compared at all ends with 2.
    """
    from treadle.monitoring.drift import drift as compared

    report = compared(
        reference,
        current,
        columns=columns or None,
        false_alarms=false_alarms,
        effect=effect,
        joint=joint,
    )
    if html is not None:
        report.html(html)
    if json:
        print_json(report)
    else:
        _print_drift(report, html)
    if fail_on_drift and report.drifted:
        raise typer.Exit(DRIFTED)


def _print_drift(report: "DriftReport", html: Path | None) -> None:
    console.print(report.summary(), markup=False, soft_wrap=True)
    heads = ("column", "kind", "drifted", "p", "adjusted p", "effect", "moved most")
    rows = [_row(name, column) for name, column in report.in_order()]
    print_table("", heads, rows, colours={"yes": "red"})
    for name, why in report.not_compared.items():
        console.print(f"Not compared: {name}: {why}.", markup=False, soft_wrap=True)
    if html is not None:
        console.print(f"Written to '{html}'.", markup=False, soft_wrap=True)


def _row(name: str, column: "ColumnReport") -> tuple[object, ...]:
    from treadle.monitoring.drift_report import moved_most

    judged = (column.drifted, column.p, column.adjusted_p, column.effect)
    return (name, column.kind, *judged, moved_most(column))
