"""The verbs that start and stop things: up, down, demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.output import Home, Json, console, errors, home_of, print_json


def add_to(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(demo)


def up(
    home: Home = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5000,
    database: Annotated[
        str, typer.Option(help="Where records live, such as postgresql://… (default: SQLite).")
    ] = "",
    blobs: Annotated[
        str, typer.Option(help="Where bytes live, such as s3://… (default: the home's disk).")
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            help="Where models are served, such as kubernetes://… (default: processes of this machine)."
        ),
    ] = "",
) -> None:
    """Run everything: server, worker and model servers. Ends with Ctrl-C."""
    from treadle.platform.settings import settings_for
    from treadle.platform.supervisor import Address, Supervisor
    from treadle.platform.wiring import Embedded

    settings = settings_for(home_of(home), database=database, blobs=blobs, target=target)
    address = Address(host, port)
    supervisor = Supervisor(settings, address)
    supervisor.check_port()
    with Embedded(settings) as platform:
        _refuse_open_doors(host, guarded=platform.access.required())

    def ready() -> None:
        console.print(
            f"Treadle is up at [bold]{address.url}[/]  (home: {settings.home}; stop with Ctrl-C)"
        )
        if settings.manual_clock:
            now = settings.clock().now()
            console.print(
                f"This home was played on a manual clock: its time stands still at {now:%Y-%m-%d %H:%M}."
            )

    supervisor.run(ready)


def down(home: Home = None) -> None:
    """Stop what 'treadle up' started, from another terminal."""
    import os
    import signal
    import time

    from treadle.kernel.errors import NotFound
    from treadle.platform.supervisor import running

    folder = home_of(home)
    pid = running(folder)
    if pid is None:
        raise NotFound(f"Nothing runs on the home '{folder}'.")
    os.kill(pid, signal.SIGTERM)
    while running(folder) == pid:
        time.sleep(0.05)
    console.print("Stopped.")


def demo(
    home: Annotated[Path, typer.Option("--home", help="A new folder to play in.")] = Path(
        "treadle-demo"
    ),
    json: Json = False,
) -> None:
    """Play a real year of flights: train, serve, monitor, retrain, and catch two accidents. A good minute on two idle cores."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from treadle.cli.demo import report
    from treadle.cli.demo.play import Play

    out = errors if json else console
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<44}"),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=1.0)
        last = [""]

        def on(share: float, doing: str) -> None:
            progress.update(task, completed=share, description=doing)
            month = doing.split(":")[0].split(" ")[-1]
            if not out.is_terminal and month != last[0]:
                last[0] = month
                out.print(f"{share:4.0%}  {doing}", markup=False, soft_wrap=True)

        play = Play(home, lambda at, kind, says: report.tell(out, at, kind, says), on)
        result = play.run()
    file = report.write(result)
    if json:
        print_json(result)
        return
    report.print_result(console, result)
    console.print(f"\nThe report: {file}")
    console.print(f"Look around in it: treadle up --home {home}   (then http://127.0.0.1:5000)")
    console.print(f"Ask it:            treadle why flight-delay@champion --home {home}")


def _refuse_open_doors(host: str, *, guarded: bool) -> None:
    from treadle.kernel.errors import Forbidden

    if host not in ("127.0.0.1", "localhost", "::1") and not guarded:
        raise Forbidden(
            f"Listening on {host} would let anybody in. Make a token first: treadle access create-token --name NAME --role admin"
        )


if sys.platform == "win32":  # flock, pidfiles and process groups are POSIX
    raise SystemExit("treadle: Windows is not supported; use WSL.")
