"""The verb ``doctor``: what a home needs, what of it is there, and what to do."""

from typing import Annotated

import typer

from treadle.cli.output import Home, Json, console, home_of, markup, print_json

_MARKS = {"ok": "[green]ok[/]     ", "note": "[yellow]note[/]   ", "broken": "[red]broken[/] "}


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    app.command("doctor")(doctor)


def doctor(
    home: Home = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="The port that the server should have.")
    ] = 5000,
    json: Json = False,
) -> None:
    """Check all that a home needs, and say what to do: exit code 1 where something is broken.

    It asks the home's own backends and nobody else. It changes nothing but a small blob, which it
    writes, reads back and removes.
    """
    from treadle.cli.about import installed_extras
    from treadle.platform.doctor import examine

    folder = home_of(home)
    checks = examine(folder, port=port, extras=installed_extras())
    broken = any(check.state == "broken" for check in checks)
    if json:
        print_json({"home": str(folder), "broken": broken, "checks": checks})
    else:
        for check in checks:
            console.print(
                _MARKS[check.state] + f"[bold]{markup(check.name)}[/]: {markup(check.says)}",
                soft_wrap=True,
            )
            if check.todo:
                console.print(f"        {markup(check.todo)}", soft_wrap=True)
    if broken:
        raise typer.Exit(1)
