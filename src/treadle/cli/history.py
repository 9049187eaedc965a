"""The verbs for runs: compare them, run them again, send what waits, export everything."""

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    console,
    errors,
    markup,
    open_home,
    print_json,
    print_table,
    progress_bar,
)
from treadle.cli.verbs import Session, add_verbs

if TYPE_CHECKING:
    from treadle.platform.rerun import Reproduction
    from treadle.recording.uploader import Synced
    from treadle.tracking.model import Difference


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, compare, rerun, sync, export)


def compare(
    session: Session,
    a: Annotated[str, typer.Argument(help="A run.")],
    b: Annotated[str, typer.Argument(help="Another run.")],
) -> None:
    """Show what differs between two runs: code, parameters, data, packages, metrics, tags."""
    comparison = session.services().tracking.compare(a=a, b=b)
    if session.json:
        print_json(comparison)
        return
    if not comparison.differences:
        console.print(
            f"The runs are the same in all {comparison.same:,} things that were compared."
        )
        return
    _print_differences(comparison.differences, a, b)
    console.print(f"The same: {comparison.same:,}.")


def rerun(
    session: Session,
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
) -> None:
    """Run something again from what was kept of it, and report what came out differently."""
    from treadle.kernel.errors import Invalid, did_you_mean
    from treadle.platform.rerun import PLACES, Rerun

    if environment not in PLACES:
        raise Invalid(
            f"There is no environment '{environment}'.{did_you_mean(environment, PLACES)}"
        )
    services = session.services()
    name = services.registry.resolve(ref=run).run if "@" in run or ":" in run else run
    shows_spinner = console.is_terminal and not session.json
    with console.status("…") if shows_spinner else nullcontext() as spinner:

        def tell(what: str) -> None:
            if spinner is not None:
                spinner.update(markup(f"{what} …"))

        reproduction = Rerun(
            services,
            name,
            code=code,
            environment=PLACES[environment],
            tolerance=tolerance,
            ignore=tuple(ignore or ()),
            tell=tell,
        ).done()
    if session.json:
        print_json(reproduction)
    else:
        _print_reproduction(reproduction)
    if reproduction.outcome not in ("equal", "within tolerance"):
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
            "\nCode, data, parameters and environment are the same "
            f"in all {found.same:,} things compared."
        )
    for outputs, word in (
        (found.identical_outputs, "identical to the byte"),
        (found.other_outputs, "other bytes"),
    ):
        if outputs:
            console.print(f"Outputs, {word}: {markup(', '.join(outputs))}", soft_wrap=True)
    for note in found.notes:
        console.print(f"[yellow]→[/] {markup(note)}", soft_wrap=True)
    environment = markup(found.environment)
    console.print(f"Environment: {environment}. Took {found.seconds:.1f} s.", soft_wrap=True)
    console.print(f"Metrics: [{colours.get(found.outcome, 'red')}]{found.outcome}[/]")


def _print_differences(differences: "list[Difference]", a: str, b: str) -> None:
    for change in [each for each in differences if each.of == "code"]:
        console.print(f"[bold]code[/] {markup(change.key)}", soft_wrap=True)
        for sign, colour, lines in (("-", "red", change.a), ("+", "green", change.b)):
            for line in str(lines or "").splitlines():
                console.print(f"  [{colour}]{sign}[/] {markup(line)}", soft_wrap=True)
    rest = [(each.of, each.key, each.a, each.b) for each in differences if each.of != "code"]
    if rest:
        print_table("", ("", "", a, b), rest)


def sync(session: Session) -> None:
    """Send what recorded runs could not deliver: to the server, else into the home itself."""
    from treadle.platform import recording

    with progress_bar(session.json) as progress:

        def tell(state: "Synced", waiting: int) -> None:
            progress(state.run, state.points, state.points + waiting)

        synced = list(recording.sync(session.home, session.services(), tell))
    if session.json:
        print_json(synced)
    else:
        _print_synced(synced, recorded_now=recording.recorded_now(session.home))
    if any(run.refused or not run.finished for run in synced):
        raise typer.Exit(1)


def _print_synced(synced: "list[Synced]", *, recorded_now: list[str]) -> None:
    if not synced:
        exception = " but for runs that are being recorded" if recorded_now else ""
        console.print(f"Nothing waits{exception}.")
    for run in synced:
        how = "delivered" if run.finished and not run.refused else "not delivered completely"
        console.print(f"{run.run} {how}: {run.points:,} points sent now.", markup=False)
    for refusal in [f"{run.run}: {reason}" for run in synced for reason in run.refused]:
        errors.print(
            f"Refused: {refusal}",
            style="yellow" if errors.is_terminal else None,
            markup=False,
            soft_wrap=True,
        )


def export(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Write the whole history as Parquet, JSON and plain files, which 'import treadle' reads."""
    from treadle.interop.archive import export_archive

    with open_home(home) as platform, progress_bar(json) as progress:
        exported = export_archive(platform.database, platform.blobs, folder, progress)
    if json:
        print_json(exported)
        return
    rows = sum(exported.tables.values())
    console.print(
        f"Wrote {rows:,} rows of {len(exported.tables)} tables, {exported.points:,} points and "
        f"{exported.blobs:,} contents ({exported.bytes:,} bytes) to '{folder}'. "
        f"{folder / 'README.md'} says what is where.",
        markup=False,
        soft_wrap=True,
    )
