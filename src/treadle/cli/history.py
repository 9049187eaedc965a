"""The verbs of what was tried: comparing runs, running them again, sending what waits, exporting."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    errors,
    home_of,
    open_home,
    open_services,
    print_json,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from treadle.platform.rerun import Reproduction
    from treadle.recording.uploader import Synced
    from treadle.tracking.model import Difference


def add_to(app: typer.Typer) -> None:
    app.command()(compare)
    app.command()(rerun)
    app.command()(sync)
    app.command("export")(export_all)


def compare(
    a: Annotated[str, typer.Argument(help="A run.")],
    b: Annotated[str, typer.Argument(help="Another run.")],
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show what differs between two runs: lines of code, parameters, data by content, packages, metrics, tags."""
    found = open_services(home, url, token).tracking.compare(a=a, b=b)
    if json:
        print_json(found)
        return
    if not found.differences:
        console.print(f"The runs are the same in all {found.same:,} things that were compared.")
        return
    _print_differences(found.differences, a, b)
    console.print(f"The same: {found.same:,}.")


def rerun(
    run: Annotated[
        str,
        typer.Argument(
            help="The run, or NAME@ALIAS or NAME:VERSION for the run that made that version."
        ),
    ],
    code: Annotated[
        Path | None,
        typer.Option(
            "--code", help="Run this folder's code as it is now, instead of what was kept."
        ),
    ] = None,
    environment: Annotated[
        str,
        typer.Option(
            help="'auto' rebuilds the packages where they differ; 'rebuilt' always; 'this' never."
        ),
    ] = "auto",
    tolerance: Annotated[
        float, typer.Option(help="Relative and absolute difference that still counts as alike.")
    ] = 1e-6,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", help="Metrics to leave out, such as 'time/*'. May be repeated."),
    ] = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Run something again from what was kept of it, and report: metrics equal, alike or different, and what differed going in."""
    from treadle.kernel.errors import Invalid, did_you_mean
    from treadle.platform.rerun import PLACES, Rerun

    if environment not in PLACES:
        raise Invalid(
            f"There is no environment '{environment}'.{did_you_mean(environment, PLACES)}"
        )
    services = open_services(home, url, token)
    name = services.registry.resolve(ref=run).run if "@" in run or ":" in run else run
    with console.status("…") if not json and console.is_terminal else nullcontext() as spinner:

        def tell(what: str) -> None:
            if spinner is not None:
                spinner.update(f"{what} …")

        found = Rerun(
            services,
            name,
            code=code,
            environment=PLACES[environment],
            tolerance=tolerance,
            ignore=tuple(ignore or ()),
            tell=tell,
        ).done()
    if json:
        print_json(found)
    else:
        _print_reproduction(found)
    if found.outcome not in ("equal", "within tolerance"):
        raise typer.Exit(1)


def _print_reproduction(found: "Reproduction") -> None:
    colours = {"equal": "green", "within tolerance": "yellow"}
    rows = [(pair.key, pair.a, pair.b, pair.likeness) for pair in found.metrics]
    print_table("", ("metric", found.run, found.again, ""), rows)
    if found.differences:
        console.print("\nWhat differed:")
        _print_differences(found.differences, found.run, found.again)
    else:
        console.print(
            f"\nCode, data, parameters and environment are the same in all {found.same:,} things compared."
        )
    for outputs, word in (
        (found.identical_outputs, "identical to the byte"),
        (found.other_outputs, "other bytes"),
    ):
        if outputs:
            console.print(f"Outputs, {word}: {', '.join(outputs)}", soft_wrap=True)
    for note in found.notes:
        console.print(f"[yellow]→[/] {note}", soft_wrap=True)
    console.print(f"Environment: {found.environment}. Took {found.seconds:.1f} s.", soft_wrap=True)
    console.print(f"Metrics: [{colours.get(found.outcome, 'red')}]{found.outcome}[/]")


def _print_differences(differences: "list[Difference]", a: str, b: str) -> None:
    from rich.markup import escape

    for one in differences:
        if one.of == "code":
            console.print(f"[bold]code[/] {escape(one.key)}", soft_wrap=True)
            for sign, colour, lines in (("-", "red", one.a), ("+", "green", one.b)):
                for line in str(lines or "").splitlines():
                    console.print(f"  [{colour}]{sign}[/] {escape(line)}", soft_wrap=True)
    rest = [(one.of, one.key, one.a, one.b) for one in differences if one.of != "code"]
    if rest:
        print_table("", ("", "", a, b), rest)


def sync(
    home: Annotated[
        Path | None,
        typer.Option("--home", envvar="TREADLE_HOME", help="The folder whose spool is meant."),
    ] = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Send what recorded runs could not deliver while they ran: to the server, else into the home itself. May be repeated at will."""
    from treadle.platform import recording

    folder = home_of(home)
    with progress_bar(json) as told:

        def tell(state: "Synced", waiting: int) -> None:
            told(state.run, state.points, state.points + waiting)

        found = list(recording.sync(folder, open_services(folder, url, token), tell))
    busy = recording.recorded_now(folder)
    if json:
        print_json(found)
    elif not found:
        console.print(
            "Nothing waits." if not busy else "Nothing waits but for runs that are being recorded."
        )
    for one in [] if json else found:
        how = "delivered" if one.finished and not one.refused else "not delivered completely"
        console.print(f"{one.run} {how}: {one.points:,} points sent now.")
    for reason in [f"{one.run}: {reason}" for one in found for reason in one.refused]:
        errors.print(
            f"Refused: {reason}",
            style="yellow" if errors.is_terminal else None,
            markup=False,
            soft_wrap=True,
        )
    if any(one.refused or not one.finished for one in found):
        raise typer.Exit(1)


def export_all(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Write the whole history as Parquet, JSON and plain files: readable without Treadle, and importable again without loss."""
    from treadle.interop.archive import export_archive

    with open_home(home) as platform, progress_bar(json) as told:
        found = export_archive(platform.database, platform.blobs, folder, told)
    if json:
        print_json(found)
        return
    rows = sum(found.tables.values())
    console.print(
        f"Wrote {rows:,} rows of {len(found.tables)} tables, {found.points:,} points and {found.blobs:,} contents "
        f"({found.bytes:,} bytes) to '{folder}'. {folder / 'README.md'} says what is where.",
        soft_wrap=True,
    )
