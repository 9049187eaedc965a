"""The verb that serves models by hand: serve."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import Home, Token, Url, console, home_of, open_services

if TYPE_CHECKING:
    from treadle.platform.serving import Asked


def add_to(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    models: Annotated[
        list[str], typer.Argument(help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file; one or several.")
    ],
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port to listen on. Default: $AIP_HTTP_PORT, $PORT, 8080.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes that answer on the one port.")] = 1,
    callers: Annotated[
        Path | None, typer.Option(help="A TOML file of [[caller]] tables: who may ask, and how often.")
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Answer anybody on --host, without callers.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="Where packages and the inference log are kept. Default: HOME/serving.")
    ] = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Serve models over HTTP, without a control plane. An alias is followed: a new version is swapped in. Ends with Ctrl-C."""
    import os
    from functools import cache

    from treadle.kernel.errors import Invalid
    from treadle.platform import serving
    from treadle.serving.clouds import port_of

    if host not in ("127.0.0.1", "localhost", "::1") and callers is None and not open:
        raise Invalid(f"--host {host} would let anybody ask. Name who may with --callers, or say --open.")
    wanted = port_of(os.environ) if port is None else port

    def told(asked: "list[Asked]") -> None:
        for one in asked:
            console.print(f"Serving [bold]{one.version}[/] as '{one.name}' at [bold]http://{host}:{wanted}[/]")
        console.print("POST /invocations, /v1/models/NAME:predict or /v2/models/NAME/infer; stop with Ctrl-C.")

    serving.run(
        models,
        state or home_of(home) / "serving",
        cache(lambda: open_services(home, url, token)),
        host=host,
        port=wanted,
        workers=workers,
        callers=callers,
        told=told,
    )
