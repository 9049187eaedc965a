"""The verb backtest: what other retraining policies would have earned on the project's own past."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.output import Json, console, errors, markup, print_json, print_table

if TYPE_CHECKING:
    from treadle.loop.backtest.model import Backtest, Replay


def backtest(
    policies: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Policy files: tables of treadle.toml that take the place of the project's. "
            "Without any, the usual policies are compared.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="When the first model goes live, such as 2013-02-01. After a sixth of the time by "
            "default.",
            metavar="TIME",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="When the past ends, such as 2014-01-01. Now by default.", metavar="TIME"
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="A dataset's file or folder in the place of the declared source.",
            metavar="NAME=PATH",
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            help="A pipeline parameter while the table to learn from is made.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that work at once. One a core by default.", min=1)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with charts into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Replay the project's past under several retraining policies and compare them.

    Each policy lives through the rows of the dataset that the model learns from: windows are
    monitored, triggers and brakes decide, models are trained on what was labelled by then, judged
    and rolled out. It needs the rows' time: ``time`` in ``[data.NAME]``. The steps of the pipeline
    run in this user's processes, outside the sandbox.
    """
    from treadle.cli.training import parameters_of
    from treadle.platform.backtest import backtest as replayed
    from treadle.scope.file import nearest
    from treadle.scope.policy_files import read_policies

    project = nearest(Path.cwd()) or Path.cwd()
    compared = read_policies(project, policies or [])
    with errors.status("", spinner="dots") as status:
        shown = status.update if errors.is_terminal and not json else _nothing

        def progress(models: int, doing: str) -> None:
            shown(f"{doing}, {len(compared)} policies" if models else doing)

        found = replayed(
            project,
            compared,
            start=_moment(start, "--from"),
            until=_moment(until, "--until"),
            data=dict(_pair(text) for text in data or []),
            parameters=parameters_of(parameter or []),
            processes=processes,
            progress=progress,
        )
    if html is not None:
        html.write_text(backtest_page(found), encoding="utf-8")
    if json:
        print_json(found)
        return
    _print(found)
    if html is not None:
        console.print(f"\nThe page is in '{markup(str(html))}'.", soft_wrap=True)


def backtest_page(found: "Backtest") -> str:
    """Draw a backtest as a page that needs no other file.

    Args:
        found: The backtest.

    Returns:
        HTML.
    """
    from treadle.ui.charts import Line, Point, line_chart, scatter_chart
    from treadle.ui.rendering import render

    shown = [*dict.fromkeys([*found.frontier, "as declared", "never"])]
    by_name = {replay.policy: replay for replay in found.replays}
    lines = [by_name[name] for name in shown if name in by_name][:6]
    labels = [f"{period.start:%d %b %y}" for period in found.replays[0].periods]
    return render(
        "backtest.html",
        found=found,
        quality=line_chart(
            f"{found.metric} of what would have been served",
            labels,
            [Line(each.policy, [period.value for period in each.periods]) for each in lines],
        ),
        trade=scatter_chart(
            f"Mean {found.metric} by number of trainings",
            "trainings after the first",
            found.metric,
            [
                Point(each.policy, each.retrains, each.mean, each.policy in found.frontier)
                for each in found.replays
                if each.mean is not None
            ],
        ),
        row=_row,
        columns=_COLUMNS,
    )


_COLUMNS = (
    *("policy", "trainings", "mean", "gain", "worst period", "helped", "false alarms"),
    *("days to react", "compute", "requirements"),
)
_IN_SHORT = ("policy", "trained", "gain", "worst", "helped", "requirements")
"""Headings of a terminal that has no room for all columns."""
_ROOM = 120


def _print(found: "Backtest") -> None:
    console.print(
        f"[bold]{markup(found.project)}[/]: {found.rows:,} requests from {found.start:%Y-%m-%d} to "
        f"{found.end:%Y-%m-%d}, compared by {markup(found.metric)}",
        soft_wrap=True,
    )
    ordered = sorted(found.replays, key=lambda each: -(each.gain or 0))
    rows = [_row(each) for each in ordered]
    if console.width < _ROOM:
        shown = [_COLUMNS.index(name) for name in ("policy", "trainings", "gain", "worst period")]
        shown += [_COLUMNS.index(name) for name in ("helped", "requirements")]
        print_table("", _IN_SHORT, [[row[place] for place in shown] for row in rows])
        console.print("[dim]A wider terminal, --html and --json show more.[/]")
    else:
        print_table("", _COLUMNS, rows)
    console.print(
        f"\nNo other policy has both better answers and fewer trainings: "
        f"{markup(', '.join(found.frontier))}.",
        soft_wrap=True,
    )
    if found.cheapest is None:
        text = "No policy meets the requirements in every period without harm."
    else:
        text = f"The cheapest that meets the requirements: [bold]{markup(found.cheapest)}[/]."
    console.print(text, soft_wrap=True)
    console.print(
        f"[dim]{found.models:,} models trained in {found.took:.0f} s. Taken for granted: "
        f"{markup('; '.join(found.assumptions))}.[/]",
        soft_wrap=True,
    )


def _row(each: "Replay") -> tuple[Any, ...]:
    later = each.trainings[1:]
    helped = sum(training.effect == "better" for training in later)
    says = "met" if each.meets else ", ".join(each.missed) or "met"
    if each.harmed:
        says = f"worse than never in {len(each.harmed)}" if says == "met" else f"{says}, harm"
    return (
        each.policy,
        each.retrains,
        _number(each.mean, "{:.4f}"),
        _number(each.gain, "{:+.4f}"),
        _number(each.worst, "{:+.4f}"),
        f"{helped} of {len(later)}" if later else "—",
        each.false_alarms,
        _number(each.detection_days, "{:.1f}"),
        f"{each.seconds:.0f} s",
        says,
    )


def _number(value: float | None, form: str) -> str:
    return "—" if value is None else form.format(value)


def _moment(text: str | None, option: str) -> datetime | None:
    from treadle.kernel.clock import moment
    from treadle.kernel.errors import Invalid

    try:
        return None if text is None else moment(text)
    except Invalid as error:
        raise Invalid(f"{option}: {error.message}") from error


def _pair(text: str) -> tuple[str, str]:
    from treadle.kernel.errors import Invalid

    name, equals, path = text.partition("=")
    if not equals:
        raise Invalid(f"--data: '{text}' names no dataset. Write it as NAME=PATH.")
    return name, path


def _nothing(_text: str) -> None:
    """Show nothing."""
