"""Opens services for commands and prints their results: tables for people, JSON for programs."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from treadle.kernel.escaping import visible, visible_json

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.platform.wiring import Embedded

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="FOLDER",
        envvar="TREADLE_HOME",
        show_default="the project's .treadle",
        help="The folder that holds everything.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="TREADLE_URL",
        help="A server to work on, instead of a home.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", envvar="TREADLE_TOKEN", help="The token for the server."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
LogJson = Annotated[
    bool, typer.Option("--log-json", help="Log one JSON object a line (or TREADLE_LOG=json).")
]
LogLevel = Annotated[
    str,
    typer.Option(
        "--log-level",
        envvar="TREADLE_LOG_LEVEL",
        help="The least that is logged: debug, info, warning or error.",
    ),
]

BARS = "▁▂▃▄▅▆▇█"
"""The bars of a sparkline, from the least value to the greatest."""

COPIED = ("id", "run", "version", "policy")
"""Columns whose cells people copy: they stay in one line, and other columns are made narrower."""


class Terminal(Console):
    """A console whose only control characters are its own: what text brings is shown as codes.

    Args:
        options: Rich's options.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn a string into styled text, as rich does, before it is laid out.

        Args:
            text: The string, with markup where it is on.
            options: Rich's options.
        """
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Turn anything into segments, as rich does.

        Args:
            renderable: What is printed.
            options: Rich's options.
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


console = Terminal()
errors = Terminal(stderr=True)


def markup(text: str) -> str:
    """Text within rich's markup, where it is text whatever it holds.

    Args:
        text: Any text.
    """
    plain = text.rstrip("\\")
    escaped = _BRACKETS.sub(_as_text, plain)
    return escaped + "\\" * 2 * (len(text) - len(plain))  # a single one would hide a tag


_BRACKETS = re.compile(r"(\\*)(\[[a-z#/@][^[]*?])|\\\[")
"""What rich takes for a tag, with backslashes before it; and a bracket that it takes as escaped."""


def _as_text(found: re.Match[str]) -> str:
    backslashes, tag = found.groups()
    return f"{backslashes}{backslashes}\\{tag}" if tag else "\\\\["


def home_of(home: Path | None) -> Path:
    """Return the absolute path of the home that a command works on.

    Args:
        home: The value of ``--home``; None stands for ``.treadle`` beside the nearest treadle.toml.
    """
    from treadle.platform import settings

    return settings.home_of(home)


def open_services(
    home: Path | None, url: str | None = None, token: str | None = None
) -> "Services":
    """Open the services behind a URL if one is given, else those of an existing home.

    Args:
        home: The value of ``--home``.
        url: The server's address, as in ``http://127.0.0.1:5000``; None opens the home.
        token: The token for the server; None sends none.

    Raises:
        NotFound: There is no URL and the home does not exist.
    """
    from treadle.kernel.event import act_as

    if url:
        from treadle.platform.remote import connect

        act_as(person())
        return connect(url, token=token)
    return open_home(home)


def open_home(home: Path | None) -> "Embedded":
    """Open an existing home in this process.

    Args:
        home: The value of ``--home``.

    Raises:
        NotFound: The home does not exist.
    """
    from treadle.kernel.errors import NotFound
    from treadle.kernel.event import act_as

    act_as(person())
    folder = home_of(home)
    if not folder.exists():
        raise NotFound(
            f"There is no home at '{folder}'. Make one with 'treadle up' or 'treadle run', "
            "or name one with --home."
        )
    from treadle.platform.start import embedded

    return embedded(folder)


def person() -> str:
    """Return the name of the user who types; events carry it as their actor."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def print_json(value: object) -> None:
    """Print one JSON value on one line of standard output.

    Args:
        value: What is printed: an entity, or plain data.
    """
    from treadle.kernel.entity import to_json

    sys.stdout.write(visible_json(to_json(value).decode()) + "\n")


def print_pretty(value: object) -> None:
    """Print a value as indented JSON, coloured on a terminal.

    Args:
        value: What is printed: an entity, or plain data.
    """
    from treadle.kernel.entity import to_json

    if console.is_terminal:
        console.print_json(visible_json(to_json(value).decode()), ensure_ascii=True)
    else:
        import msgspec

        laid_out = msgspec.json.format(to_json(value), indent=2).decode()
        sys.stdout.write(visible_json(laid_out) + "\n")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    colours: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print a table for people; a missing value shows as a dash.

    Args:
        title: The line above the table; empty for none.
        columns: The header of each column.
        rows: The cells of each row; brackets in them are no markup.
        colours: Colours by the whole text of a cell; they show on terminals only.
    """
    table = Table(
        title=Text(title, style="italic") if title else None,
        title_justify="left",
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for column in columns:
        table.add_column(markup(column), overflow="fold", no_wrap=column in COPIED)
    for row in rows:
        cells = [show(value) for value in row]
        table.add_row(*(Text(visible(text), style=colours.get(text, "")) for text in cells))
    console.print(table)


def show(value: Any) -> str:
    """Return a value as the text of a table's cell.

    Args:
        value: A number, a moment, a truth value, a text or None.
    """
    if value is None or value == "":
        return "—"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def show_bytes(size: float) -> str:
    """Return a size as people read it, such as '1.5 MB'.

    Args:
        size: The size, in bytes.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def show_duration(seconds: float) -> str:
    """Return a duration as people read it, such as '12.3 s' or '2 h 05 min'.

    Args:
        seconds: The duration.
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def sparkline(values: Sequence[float | None]) -> str:
    """Return a series as a line of small bars; a gap where a value is missing.

    Args:
        values: The values in order; None for one that is not finite.
    """
    finite = [value for value in values if value is not None]
    if not finite:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(BARS) - 1
    return "".join(
        " " if value is None else BARS[round((value - low) / span * top)] for value in values
    )


@contextmanager
def progress_bar(json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for long work; yields a function that takes the doing, the done and the total.

    Args:
        json: Whether standard output is for JSON; the bar then goes to standard error.
    """
    from rich.progress import Progress

    out = errors if json else console
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(
            task, description=markup(what), completed=done, total=total
        )
