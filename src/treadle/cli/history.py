"""The verbs of what was tried: comparing runs, and taking over the histories of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import Home, Json, Token, Url, console, errors, home_of, open_services, print_json

if TYPE_CHECKING:
    from treadle.tracking.shipping import Synced

importing = typer.Typer(no_args_is_help=True, help="Take over the history of another tool.")


def add_to(app: typer.Typer) -> None:
    app.command()(compare)
    app.command()(sync)
    app.add_typer(importing, name="import")


def compare(
    a: Annotated[str, typer.Argument(help="A run.")],
    b: Annotated[str, typer.Argument(help="Another run.")],
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show what differs between two runs: parameters, data by content, metrics, tags."""
    from rich.table import Table

    found = open_services(home, url, token).tracking.compare(a=a, b=b)
    if json:
        print_json(found)
        return
    if not found.differences:
        console.print(f"The runs are the same in all {found.same:,} parameters, metrics, tags and datasets.")
        return
    table = Table("", "", a, b, box=None)
    for one in found.differences:
        table.add_row(one.of, one.key, *("-" if value is None else str(value) for value in (one.a, one.b)))
    console.print(table)
    console.print(f"The same: {found.same:,}.")


def sync(
    home: Annotated[
        Path | None, typer.Option("--home", envvar="TREADLE_HOME", help="The folder whose spool is meant.")
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Send what recorded runs could not deliver while they ran: to the server, else into the home itself. May be repeated at will."""
    from rich.progress import Progress

    from treadle.platform import recording

    folder = home_of(home)
    out = errors if json else console
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("points", total=None)

        def told(state: "Synced", waiting: int) -> None:
            bar.update(task, description=state.run, completed=state.points, total=state.points + waiting)

        found = list(recording.sync(folder, open_services(folder, url, token), told))
    busy = recording.recorded_now(folder)
    if json:
        print_json(found)
    elif not found:
        console.print("Nothing waits." if not busy else "Nothing waits but for runs that are being recorded.")
    for one in [] if json else found:
        how = "delivered" if one.finished and not one.refused else "not delivered completely"
        console.print(f"{one.run} {how}: {one.points:,} points sent now.")
    for reason in [f"{one.run}: {reason}" for one in found for reason in one.refused]:
        errors.print(f"Refused: {reason}", style="yellow" if errors.is_terminal else None, markup=False, soft_wrap=True)
    if any(one.refused or not one.finished for one in found):
        raise typer.Exit(1)


@importing.command("mlflow")
def import_mlflow(
    database: Annotated[str, typer.Argument(help="The database's URL, such as sqlite:///mlflow.db or postgresql://…")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over experiments, runs with every point, artifacts on this disk, models and versions. May be run again at any time."""
    from rich.progress import Progress

    from treadle.exchange.mlflow import import_mlflow as carry
    from treadle.platform.start import embedded

    out = errors if json else console
    with embedded(home_of(home)) as platform, Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("runs", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        found = carry(database, platform.tracking, platform.registry, platform.blobs, progress)
    if json:
        print_json(found)
        return
    console.print(
        f"Imported {found.runs:,} runs with {found.points:,} points and {found.artifacts:,} files, "
        f"{found.experiments:,} new experiments, {found.versions:,} versions of {found.models:,} models."
    )
    if found.runs_here_already:
        console.print(f"{found.runs_here_already:,} runs were here already.")
    for reason, count in found.left_behind.items():
        console.print(f"Left behind: {count:,} {reason}", style="yellow" if console.is_terminal else None)
