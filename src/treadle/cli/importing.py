"""The verb ``import``: taking over the histories of other tools, and our own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import Home, Json, console, home_of, print_json, progress_bar
from treadle.cli.verbs import Project

if TYPE_CHECKING:
    from treadle.interop.report import Imported

importing = typer.Typer(
    no_args_is_help=True, help="Take over the history of another tool. May be repeated at any time."
)


def add_to(app: typer.Typer) -> None:
    """Add the group ``import`` to the app.

    Args:
        app: The app.
    """
    app.add_typer(importing, name="import")


@importing.command("mlflow")
def import_mlflow(
    source: Annotated[
        str,
        typer.Argument(
            help="The database's URL (sqlite:///mlflow.db, postgresql://…), or the folder mlruns."
        ),
    ],
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over experiments, runs with every point, artifacts on this disk, models and versions."""
    from treadle.interop.import_session import local_folder
    from treadle.interop.mlflow import import_mlflow as of_database
    from treadle.interop.mlruns import import_mlruns
    from treadle.platform.start import embedded

    folder = local_folder(source)
    with embedded(home_of(home)) as platform, progress_bar(json) as progress:
        if folder is not None and folder.is_dir():
            imported = import_mlruns(
                folder, platform.tracking, platform.registry, platform.blobs, progress
            )
        else:
            services = (
                platform.tracking,
                platform.logged_models,
                platform.registry,
                platform.blobs,
            )
            imported = of_database(source, *services, progress)
    _report(imported, json)


@importing.command("wandb")
def import_wandb(
    folder: Annotated[Path, typer.Argument(help="A folder with offline runs, such as ./wandb.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over offline runs of Weights & Biases: config, histories, console, files."""
    from treadle.interop.wandb import import_wandb as of_folder
    from treadle.platform.start import embedded

    with embedded(home_of(home)) as platform, progress_bar(json) as progress:
        imported = of_folder(folder, platform.tracking, platform.blobs, progress)
    _report(imported, json)


@importing.command("dvc")
def import_dvc(
    repository: Annotated[Path, typer.Argument(help="The repository's folder.")],
    project: Project = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over the present content of everything that a DVC repository tracks."""
    from treadle.cli.data_places import owner_of
    from treadle.interop.dvc import import_dvc as of_repository
    from treadle.platform.start import embedded

    with embedded(home_of(home)) as platform:
        owner = owner_of(platform, project)
        taken = of_repository(repository, owner, platform.data, platform.blobs)
    if json:
        print_json(taken)
        return
    for version in taken.versions:
        console.print(f"{version.ref}: {version.files:,} files", markup=False)
    for path, why in taken.left.items():
        style = "yellow" if console.is_terminal else None
        console.print(f"Left behind: {path}: {why}", style=style, markup=False, soft_wrap=True)
    if taken.left:
        raise typer.Exit(1)


@importing.command("neptune")
def import_neptune(
    folder: Annotated[Path, typer.Argument(help="The exporter's folder of Parquet files.")],
    files: Annotated[
        Path | None, typer.Option("--files", help="Where the exporter put files, if elsewhere.")
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over what Neptune's exporter wrote: parameters, series, tags, text, files."""
    from treadle.interop.neptune import import_neptune as of_folder
    from treadle.platform.start import embedded

    with embedded(home_of(home)) as platform, progress_bar(json) as progress:
        imported = of_folder(folder, platform.tracking, platform.blobs, progress, files)
    _report(imported, json)


@importing.command("treadle")
def import_treadle(
    folder: Annotated[Path, typer.Argument(help="What 'treadle export' wrote.")],
    home: Home = None,
    json: Json = False,
) -> None:
    """Take over an exported history into a home that has none yet, whichever its database."""
    from treadle.interop.archive import import_archive
    from treadle.platform.start import embedded

    with embedded(home_of(home)) as platform, progress_bar(json) as progress:
        archive = import_archive(folder, platform.database, platform.blobs, progress)
        platform.events.sign_head()
        chain = platform.events.verify()
    if json:
        print_json(archive)
        return
    console.print(
        f"Took in {archive.tables['runs']:,} runs with {archive.points:,} points, "
        f"{archive.tables['events']:,} events (chain {'intact' if chain.intact else 'broken'}) "
        f"and {archive.blobs:,} contents.",
        soft_wrap=True,
    )
    console.print(
        "Not in there: tokens, webhooks, and the key that signs approvals "
        "(.signing.key of the old home)."
    )


def _report(imported: "Imported", json: bool) -> None:
    if json:
        print_json(imported)
        return
    console.print(
        f"Imported {imported.runs:,} runs with {imported.points:,} points "
        f"and {imported.artifacts:,} files, {imported.experiments:,} new experiments, "
        f"{imported.versions:,} versions of {imported.models:,} models.",
        soft_wrap=True,
    )
    if imported.runs_here_already:
        console.print(f"{imported.runs_here_already:,} runs were here already.")
    for reason, count in imported.left_behind.items():
        style = "yellow" if console.is_terminal else None
        console.print(f"Left behind: {count:,} {reason}", style=style, markup=False, soft_wrap=True)
