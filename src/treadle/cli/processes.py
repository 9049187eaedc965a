"""The verbs that start and stop things: up, down, demo."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.news import News
from treadle.cli.output import (
    Home,
    Json,
    LogJson,
    LogLevel,
    console,
    errors,
    home_of,
    markup,
    print_json,
)
from treadle.cli.verbs import add_verbs
from treadle.kernel.escaping import shell


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, up, down, demo)


def up(
    home: Home = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 5000,
    database: Annotated[
        str,
        typer.Option(
            help="Where records live, such as postgresql://…, where $NAME as the password is "
            "read from the environment (default: TREADLE_DATABASE, else SQLite)."
        ),
    ] = "",
    blobs: Annotated[
        str,
        typer.Option(
            help="Where bytes live, such as s3://… (default: TREADLE_BLOBS, else the home's disk)."
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            help="Where models are served, such as kubernetes://… "
            "(default: processes of this machine)."
        ),
    ] = "",
    sandbox: Annotated[
        str,
        typer.Option(
            help="How steps are confined: no less than 'namespaces' or 'landlock', or 'off' "
            "(default: auto, the strongest that this machine offers)."
        ),
    ] = "",
    online_store: Annotated[
        str,
        typer.Option(
            help="Where features are read online, such as redis://… (default: SQLite in the home)."
        ),
    ] = "",
    oidc: Annotated[
        str,
        typer.Option(
            help="A TOML file that declares the identity provider at which people sign in "
            "(OpenID Connect), or 'off' (default: as the home remembers, at first off)."
        ),
    ] = "",
    log_json: LogJson = False,
    log_level: LogLevel = "info",
    json: Json = False,
) -> None:
    """Run everything: server, worker and model servers. Ends with Ctrl-C. Logs are in HOME/logs."""
    from treadle.platform import logs
    from treadle.platform.addresses import backend
    from treadle.platform.settings import settings_for
    from treadle.platform.sign_in import sign_in_of
    from treadle.platform.supervisor import LOG, Address, Supervisor
    from treadle.platform.wiring import Embedded

    backends = {"database": database, "blobs": blobs, "target": target, "sandbox": sandbox}
    backends["online_store"] = online_store
    # What is not usable is refused before it is remembered.
    if sandbox:
        _ = backend("sandbox", sandbox, home_of(home)).strength
    if oidc not in ("", "off"):
        oidc = str(Path(oidc).expanduser().resolve())
        sign_in_of(Path(oidc))
    settings = settings_for(home_of(home), **backends, oidc=oidc)
    if settings.oidc_file:
        sign_in_of(settings.oidc_file)
    logs.configure("supervisor", json=log_json or None, level=log_level, file=settings.folder / LOG)
    address = Address(host, port)
    supervisor = Supervisor(settings, address)
    supervisor.check_port()
    with Embedded(settings) as platform:
        _refuse_open_doors(host, guarded=platform.access.required())

    def ready() -> None:
        if json:
            print_json({"url": address.url, "home": settings.home})
            sys.stdout.flush()
            return
        console.print(
            f"Treadle is up at [bold]{address.url}[/]  "
            f"(home: {markup(settings.home)}; stop with Ctrl-C)",
            soft_wrap=True,
        )
        if settings.manual_clock:
            now = settings.clock().now()
            console.print(
                "This home was played on a manual clock: "
                f"its time stands still at {now:%Y-%m-%d %H:%M}."
            )

    news = News(settings)
    if not json:
        news.start()
    try:
        supervisor.run(ready)
    finally:
        news.stop()


def down(home: Home = None, json: Json = False) -> None:
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
    if json:
        print_json({"home": str(folder), "stopped": pid})
    else:
        console.print("Stopped.")


def demo(
    home: Annotated[Path, typer.Option("--home", help="A new folder to play in.")] = Path(
        "treadle-demo"
    ),
    json: Json = False,
) -> None:
    """Play a real year of flights: train, serve, monitor, retrain, and catch two accidents."""
    from treadle.cli.demo import report
    from treadle.cli.demo.play import Play
    from treadle.cli.demo.progress import YearProgress

    out = errors if json else console
    with YearProgress(out) as progress:
        play = Play(home, lambda at, kind, says: report.tell(out, at, kind, says), progress.show)
        result = play.run()
    file = report.write(result)
    if json:
        print_json(result)
        return
    report.print_result(console, result)
    console.print(f"\nThe report: {file}", markup=False, soft_wrap=True)
    console.print(
        f"Look around in it: {shell('treadle', 'up', '--home', home)}   (then http://127.0.0.1:5000)",
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"Ask it:            treadle why flight-delay@champion --home {home}", markup=False
    )


def _refuse_open_doors(host: str, *, guarded: bool) -> None:
    from treadle.kernel.errors import Forbidden

    if host not in ("127.0.0.1", "localhost", "::1") and not guarded:
        raise Forbidden(
            f"Listening on {host} would let anybody in. Make a token first: treadle access "
            "create-token --name NAME --role admin. Or let people sign in: --oidc FILE"
        )


if sys.platform == "win32":  # flock, pidfiles and process groups are POSIX
    raise SystemExit("treadle: Windows is not supported; use WSL.")
