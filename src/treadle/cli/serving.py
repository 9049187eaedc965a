"""The verbs that put models to use by hand: package, serve, predict, build, capacity."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    home_of,
    open_services,
    print_json,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from treadle.platform.model_store import Asked


def add_to(app: typer.Typer) -> None:
    app.command()(package)
    app.command()(serve)
    app.command()(predict)
    app.command()(build)
    app.command()(capacity)


def package(
    source: Annotated[
        str,
        typer.Argument(
            help="An MLflow folder, a SavedModel, FILE.py:Class, or an .onnx, .keras, .pt2, .skops, .json, .ubj, .txt or .pkl file."
        ),
    ],
    to: Annotated[Path, typer.Option(help="The model folder to make.")],
    example: Annotated[
        Path | None,
        typer.Option(
            help="Parquet or CSV: rows as the model takes them, to compare on and to know drift by."
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="What an output is the probability of, in order; once for each."
        ),
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="The folder that a Python class loads.")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run code that the source holds: a pickle, a Python class."),
    ] = False,
    json: Json = False,
) -> None:
    """Make a model folder from a saved model, for serve, predict and build. ONNX wherever it can be, checked on real rows."""
    from treadle.platform import packaging

    with progress_bar(json) as progress:
        progress("packaging", 0, 1)
        found = packaging.package(
            source, to, example=example, trusted=trust, files=files, classes=tuple(classes or ())
        )
    if json:
        print_json(found)
        return
    compared = (
        "" if found.parity is None else f"; differs from the original by at most {found.parity:.2g}"
    )
    console.print(
        f"[bold]{found.folder}[/]: {found.inputs} inputs, gives {found.output}, run by {found.runtime}{compared}."
    )
    console.print(f"treadle serve {found.folder}")


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            envvar="TREADLE_SERVE",
            help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file; one or several.",
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            help="A folder of model folders: all are served, and /v2/repository loads and unloads them."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The port to listen on. Default: $AIP_HTTP_PORT, $PORT, 8080."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(envvar="TREADLE_SERVE_HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that answer on the one port.")
    ] = 1,
    trust: Annotated[
        list[str] | None,
        typer.Option(help="A model's name whose Python code may run here; may be repeated."),
    ] = None,
    callers: Annotated[
        Path | None,
        typer.Option(help="A TOML file of [[caller]] tables: who may ask, and how often."),
    ] = None,
    open: Annotated[
        bool,
        typer.Option(
            "--open", envvar="TREADLE_SERVE_OPEN", help="Answer anybody on --host, without callers."
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            envvar="TREADLE_SERVE_STATE",
            help="Where packages and the inference log are kept. Default: HOME/serving.",
        ),
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
    from treadle.platform.runtimes import TRUST
    from treadle.serving.clouds import port_of

    if host not in ("127.0.0.1", "localhost", "::1") and callers is None and not open:
        raise Invalid(
            f"--host {host} would let anybody ask. Name who may with --callers, or say --open."
        )
    wanted = port_of(os.environ) if port is None else port
    if trust:
        os.environ[TRUST] = ",".join([*trust, *filter(None, [os.environ.get(TRUST)])])

    def told(asked: "list[Asked]") -> None:
        for one in asked:
            console.print(
                f"Serving [bold]{one.version}[/] as '{one.name}' at [bold]http://{host}:{wanted}[/]"
            )
        console.print(
            "POST /invocations, /v1/models/NAME:predict or /v2/models/NAME/infer; stop with Ctrl-C."
        )

    serving.run(
        models or [],
        state or home_of(home) / "serving",
        cache(lambda: open_services(home, url, token)),
        host=host,
        port=wanted,
        workers=workers,
        callers=callers,
        repository=repository,
        told=told,
    )


def predict(
    model: Annotated[
        str, typer.Argument(help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file.")
    ],
    source: Annotated[
        Path, typer.Argument(help="A Parquet file with a column for each of the model's inputs.")
    ],
    to: Annotated[
        Path,
        typer.Argument(help="The Parquet file to write: all columns, and what the model says."),
    ],
    rows_at_once: Annotated[
        int, typer.Option(min=1, help="Rows that are scored and kept together.")
    ] = 65_536,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Score a Parquet file. A run that was stopped goes on where it was; each row is there once, in its order."""
    from functools import cache

    from treadle.platform import serving
    from treadle.serving.batch import score_file

    services = cache(lambda: open_services(home, url, token))
    served = serving.open_served(serving.find(model, services), home_of(home) / "serving", services)
    with progress_bar(json) as progress:
        found = score_file(served, source, to, rows_at_once=rows_at_once, progress=progress)
    if json:
        print_json(found)
        return
    again = f", {found.resumed:,} of them from before" if found.resumed else ""
    failed = (
        f" {found.failed:,} rows failed; column 'prediction_error' says why."
        if found.failed
        else ""
    )
    console.print(f"{found.rows:,} rows scored by {found.version}{again}: {found.file}.{failed}")


def build(
    model: Annotated[
        str, typer.Argument(help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file.")
    ],
    to: Annotated[
        Path | None, typer.Option(help="The archive to write. Default: NAME-NUMBER.oci.tar.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(help="The image's name, as in 'registry/churn:3'. Default: NAME:NUMBER."),
    ] = None,
    load: Annotated[
        str, typer.Option(metavar="ENGINE", help="Then load it into docker, podman or nerdctl.")
    ] = "",
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a container image of a model's server: non-root, no shell, a bill of materials inside. No engine is needed."""
    from functools import cache

    from treadle.platform import serving

    with progress_bar(json) as progress:
        found = serving.build(
            model, cache(lambda: open_services(home, url, token)), to=to, tag=tag, told=progress
        )
    if load:
        serving.load(found, load)
    if json:
        print_json(found)
        return
    console.print(
        f"[bold]{found.tag}[/] ({found.bytes / 1e6:.0f} MB) is in {found.file}: {found.digest}"
    )
    if not load:
        console.print(
            f"podman load -i {found.file}   or with --load docker; then: run --read-only -p 8080:8080 {found.tag}"
        )


def capacity(
    model: Annotated[
        str, typer.Argument(help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file.")
    ],
    p99: Annotated[
        float, typer.Option(help="Milliseconds within which 99 of 100 requests must be answered.")
    ] = 50.0,
    rate: Annotated[float | None, typer.Option(help="Requests a second to plan for.")] = None,
    endpoint: Annotated[
        str,
        typer.Option(help="Plan for the most that this endpoint may expect in the coming week."),
    ] = "",
    price: Annotated[float | None, typer.Option(help="What a replica costs in an hour.")] = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Measure what one replica takes within a bound, and say how many replicas a load needs. Half a minute of full load."""
    from functools import cache

    from treadle.platform import serving
    from treadle.platform.capacity import plan

    services = cache(lambda: open_services(home, url, token))
    if endpoint and rate is None:
        rate = max(
            hour.per_second for hour in services().delivery.forecast(endpoint=endpoint, hours=168)
        )
    with progress_bar(json) as progress:
        found = plan(
            serving.find(model, services),
            services,
            p99_ms=p99,
            load=rate,
            price=price,
            told=progress,
        )
    if json:
        print_json(found)
        return
    columns = ["offered/s", "answered/s", "p50 ms", "p99 ms", "within"]
    rows = [
        [
            f"{p.offered_per_second:,.0f}",
            f"{p.answered_per_second:,.0f}",
            f"{p.p50_ms:.2f}",
            f"{p.p99_ms:.2f}",
            "yes" if p.within else "too much",
        ]
        for p in found.curve
    ]
    print_table(found.version, columns, rows)
    console.print(
        f"One replica takes [bold]{found.per_replica:,.0f}[/] requests/s with a p99 within {p99:g} ms, on this machine."
    )
    if found.replicas is not None:
        cost = f", {found.monthly_cost:,.0f} a month" if found.monthly_cost is not None else ""
        console.print(
            f"{found.load:,.0f} requests/s need [bold]{found.replicas}[/] replicas, each used to four fifths{cost}."
        )
