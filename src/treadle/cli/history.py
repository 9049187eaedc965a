"""The verbs of what was tried: comparing runs, and taking over the histories of other tools."""

from typing import Annotated

import typer

from treadle.cli.output import Home, Json, Token, Url, console, errors, home_of, open_services, print_json

importing = typer.Typer(no_args_is_help=True, help="Take over the history of another tool.")


def add_to(app: typer.Typer) -> None:
    app.command()(compare)
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
