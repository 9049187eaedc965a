"""The verb ``version``: which Treadle, Python, extras and backends are used here."""

import platform
import re
from importlib.metadata import PackageNotFoundError, distribution, version

import typer

from treadle.cli.output import Home, Json, console, home_of, print_json


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    app.command("version")(show_version)


def print_version(asked: bool) -> None:
    """Print Treadle's version and end the command, if that was asked for with ``--version``.

    Args:
        asked: The value of ``--version``.
    """
    if asked:
        typer.echo(f"treadle {version('treadle')}")
        raise typer.Exit


def show_version(home: Home = None, json: Json = False) -> None:
    """Print the versions of Treadle and Python, the platform, extras, and the home's backends."""
    from treadle.platform.settings import backends_of

    folder = home_of(home)
    facts = {
        "treadle": version("treadle"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "extras": installed_extras(),
        "home": str(folder),
        "backends": backends_of(folder),
    }
    if json:
        print_json(facts)
        return
    backends = facts.pop("backends")
    assert isinstance(backends, dict)
    facts["extras"] = ", ".join(installed_extras()) or "none"
    if not backends:
        facts["home"] = f"{folder} (not made yet)"
    for name, value in {**facts, **backends}.items():
        console.print(f"{name:<10}{value}", markup=False, soft_wrap=True)


def installed_extras() -> list[str]:
    """Return the extras of Treadle whose packages are all installed, by name."""
    needs: dict[str, set[str]] = {}
    for requirement in distribution("treadle").requires or []:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", requirement)
        package = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement)
        if extra is None or package is None:
            continue
        names = [package[1]]
        if package[1] == "treadle":
            names = [f"treadle[{other}]" for other in (package[2] or "").split(",")]
        needs.setdefault(extra[1], set()).update(names)
    return sorted(extra for extra in needs if _is_installed(extra, needs))


def _is_installed(extra: str, needs: dict[str, set[str]]) -> bool:
    """Whether all packages of an extra, and of the extras it includes, are installed."""
    for name in needs.get(extra, ()):
        if name.startswith("treadle["):
            if not _is_installed(name[len("treadle[") : -1], needs):
                return False
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            return False
    return True
