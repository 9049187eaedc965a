"""How the command line opens services and prints facts: tables for people, JSON for programs."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.platform.wiring import Embedded

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="TREADLE_HOME",
        show_default="the project's .treadle",
        help="The folder that holds everything.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TREADLE_URL", help="A server to work on, instead of a home."),
]
Token = Annotated[
    str | None, typer.Option("--token", envvar="TREADLE_TOKEN", help="The token for the server.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]

console = Console(highlight=False, emoji=False)
errors = Console(stderr=True, highlight=False, emoji=False)


def home_of(home: Path | None) -> Path:
    """The home that is meant."""
    from treadle.platform import settings

    return settings.home_of(home)


def open_services(
    home: Path | None, url: str | None = None, token: str | None = None
) -> "Services":
    """The services behind a URL if one is given, else those of a home that is there already."""
    from treadle.kernel.event import act_as

    if url:
        from treadle.platform.remote import connect

        act_as(person())
        return connect(url, token=token)
    return open_home(home)


def open_home(home: Path | None) -> "Embedded":
    """A home that is there already."""
    from treadle.kernel.errors import NotFound
    from treadle.kernel.event import act_as

    act_as(person())
    folder = home_of(home)
    if not folder.exists():
        raise NotFound(
            f"There is no home at '{folder}'. Make one with 'treadle up' or 'treadle run', or name one with --home."
        )
    from treadle.platform.start import embedded

    return embedded(folder)


def person() -> str:
    """Who types: the name that events carry."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def print_json(value: object) -> None:
    """One JSON value on standard output."""
    from treadle.kernel.entity import to_json

    sys.stdout.write(to_json(value).decode() + "\n")


def print_pretty(value: object) -> None:
    """A value as indented JSON, coloured on a terminal."""
    from treadle.kernel.entity import to_json

    if console.is_terminal:
        console.print_json(to_json(value).decode())
    else:
        import msgspec

        sys.stdout.write(msgspec.json.format(to_json(value), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people; what is missing shows as a dash."""
    table = Table(
        title=title or None, title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(show(value) for value in row))
    console.print(table)


def show(value: Any) -> str:
    if value is None or value == "":
        return "—"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@contextmanager
def progress_bar(json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for long work: told what is done, how far it is, and how far it goes."""
    from rich.progress import Progress

    out = errors if json else console
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )
