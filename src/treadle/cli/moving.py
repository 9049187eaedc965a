"""The verb ``move``: another database, another blob store, the same home."""

from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import Home, Json, console, home_of, print_json, progress_bar, show_bytes
from treadle.cli.verbs import add_verbs

if TYPE_CHECKING:
    from treadle.platform.moving.move import Moved


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    add_verbs(app, move)


def move(
    to_database: Annotated[
        str,
        typer.Option(
            help="Where records go, such as postgresql://…, empty so far, where $NAME as the "
            "password is read from the environment; 'home' for SQLite in the home.",
        ),
    ] = "",
    to_blobs: Annotated[
        str,
        typer.Option(help="Where contents go, such as s3://…; 'home' for the home's disk."),
    ] = "",
    from_database: Annotated[
        str,
        typer.Option(help="The old database, where the remembered address leads there no more."),
    ] = "",
    from_blobs: Annotated[
        str,
        typer.Option(help="The old blob store, where the remembered address leads there no more."),
    ] = "",
    home: Home = None,
    json: Json = False,
) -> None:
    """Move a home to another database or blob store: all of it, verified, or nothing.

    Model servers go on answering; 'treadle up' may run, its server and worker wait for the end.
    Interrupted, the home is as before; say it again, and what was copied is not copied twice.
    """
    from treadle.kernel.errors import Invalid
    from treadle.platform.moving.move import move_home

    if not (to_database or to_blobs):
        raise Invalid("Say where to: --to-database URL, --to-blobs URL or both.")
    with progress_bar(json) as progress:
        moved = move_home(
            home_of(home),
            {"database": to_database, "blobs": to_blobs},
            {"database": from_database, "blobs": from_blobs},
            progress,
        )
    if json:
        print_json(moved)
    else:
        _print(moved)


def _print(moved: "Moved") -> None:
    lines = [
        f"Moved {moved.rows:,} rows and {moved.contents:,} contents ({moved.copied:,} copied, "
        f"{show_bytes(moved.bytes)}), up to event {moved.event:,}, and compared both sides.",
        f"database  {moved.database}",
        f"blobs     {moved.blobs}",
    ]
    lines += [f"Left as it was, to be removed by you: {place}" for place in moved.left]
    lines += [
        f"{variable} still names the old place: change it, or commands will refuse the home."
        for variable in moved.variables
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
