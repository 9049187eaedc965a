"""The verbs that put models to use by hand: package, register, serve, build, capacity."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Json,
    LogJson,
    LogLevel,
    console,
    markup,
    print_json,
    print_table,
    progress_bar,
)
from treadle.cli.scoring import predict
from treadle.cli.verbs import Session, add_verbs
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.platform.model_store import Asked


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, package, register, serve, predict, build, capacity)


def package(
    source: Annotated[
        str,
        typer.Argument(
            help="An MLflow folder, a SavedModel, FILE.py:Class, "
            "or an .onnx, .keras, .pt2, .skops, .json, .ubj, .txt or .pkl file."
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
    """Make a model folder from a saved model, for serve, predict and build; as ONNX if possible."""
    from treadle.platform import packaging
    from treadle.platform.runtimes import RUNNING_CODE

    with progress_bar(json) as progress:
        progress("packaging", 0, 1)
        packed = packaging.package(
            source, to, example=example, trusted=trust, files=files, classes=tuple(classes or ())
        )
    if json:
        print_json(packed)
        return
    compared = ""
    if packed.parity is not None:
        compared = f"; differs from the original by at most {packed.parity:.2g}"
    console.print(
        f"[bold]{markup(packed.folder)}[/]: {packed.inputs} inputs, gives {markup(packed.output)}, "
        f"run by {markup(packed.runtime)}{compared}."
    )
    trusting = ["--trust", Path(packed.folder).name] if packed.runtime in RUNNING_CODE else []
    serving = shell("treadle", "serve", packed.folder, *trusting)
    console.print(serving, markup=False, soft_wrap=True)


def register(
    session: Session,
    name: Annotated[str, typer.Argument(help="The model; it is made if there is none.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A model folder, whatever 'treadle package' reads, runs:/RUN/PATH, "
            "models:/NAME/NUMBER, models:/m-… or NAME@ALIAS."
        ),
    ],
    project: Annotated[
        str, typer.Option(help="The project of a new model (default: one of its name).")
    ] = "",
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
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run code that the source holds: a pickle, a Python class."),
    ] = False,
) -> None:
    """Register a model that was made elsewhere; then it is approved and deployed like any other."""
    from treadle.platform import adopting

    services = session.services()
    with progress_bar(session.json) as progress:
        progress("registering", 0, 1)
        made = adopting.register(
            services,
            name,
            source,
            project=project,
            example=example,
            trusted=trust,
            classes=tuple(classes or ()),
        )
    if session.json:
        print_json(made)
        return
    version = made.version
    console.print(
        f"[bold]{markup(version.ref)}[/]: {made.inputs} inputs, gives {markup(made.output)}, "
        f"run by {markup(made.runtime)}; of project {markup(made.project)}"
        f"{', which was declared for it' if made.adopted else ''}."
    )
    if services.scope.project(name=made.project).spec.rollout.automatic:
        console.print("It is rolled out while 'treadle up' runs: treadle status", markup=False)
    else:
        console.print(shell("treadle", "deploy", version.ref), markup=False, soft_wrap=True)


def serve(
    session: Session,
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
            help="A folder of model folders: all are served, "
            "and /v2/repository loads and unloads them."
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
    log_json: LogJson = False,
    log_level: LogLevel = "info",
) -> None:
    """Serve models over HTTP, without a control plane. Ends with Ctrl-C.

    An alias is followed: a new version is swapped in.
    """
    import os
    import sys

    from treadle.kernel.errors import Invalid
    from treadle.platform import logs, serving
    from treadle.platform.runtimes import TRUST
    from treadle.serving.clouds import port_of

    if host not in ("127.0.0.1", "localhost", "::1") and callers is None and not open:
        raise Invalid(
            f"--host {host} would let anybody ask. Name who may with --callers, or say --open."
        )
    logs.configure("model-server", json=log_json or None, level=log_level)
    listen_on = port_of(os.environ) if port is None else port
    if trust:
        os.environ[TRUST] = ",".join([*trust, *filter(None, [os.environ.get(TRUST)])])

    def told(asked: "list[Asked]") -> None:
        url = f"http://{host}:{listen_on}"
        if session.json:
            models = [{"name": model.name, "version": model.version} for model in asked]
            print_json({"url": url, "models": models})
            sys.stdout.flush()
            return
        for model in asked:
            console.print(
                f"Serving [bold]{markup(model.version)}[/] as '{markup(model.name)}' "
                f"at [bold]{markup(url)}[/]"
            )
        console.print(
            "POST /invocations, /v1/models/NAME:predict or /v2/models/NAME/infer; stop with Ctrl-C."
        )

    serving.run(
        models or [],
        state or session.home / "serving",
        session.services,
        host=host,
        port=listen_on,
        workers=workers,
        callers=callers,
        repository=repository,
        told=told,
    )


def build(
    session: Session,
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
) -> None:
    """Make a container image of a model's server: non-root, no shell. No engine is needed."""
    from treadle.platform import serving

    with progress_bar(session.json) as progress:
        image = serving.build(model, session.services, to=to, tag=tag, told=progress)
    if load:
        serving.load(image, load)
    if session.json:
        print_json(image)
        return
    size = f"{image.bytes / 1e6:.0f} MB"
    console.print(
        f"[bold]{markup(image.tag)}[/] ({size}) is in {markup(image.file)}: {image.digest}"
    )
    if not load:
        console.print(
            f"podman load -i {image.file}   or with --load docker; "
            f"then: run --read-only -p 8080:8080 {image.tag}",
            markup=False,
        )


def capacity(
    session: Session,
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
) -> None:
    """Measure the load that one replica takes, and tell how many replicas a load needs.

    This machine is under full load meanwhile.
    """
    from treadle.platform import serving
    from treadle.platform.capacity import plan

    if endpoint and rate is None:
        hours = session.services().delivery.forecast(endpoint=endpoint, hours=168)
        rate = max(hour.per_second for hour in hours)
    with progress_bar(session.json) as progress:
        planned = plan(
            serving.find(model, session.services),
            session.services,
            p99_ms=p99,
            load=rate,
            price=price,
            told=progress,
        )
    if session.json:
        print_json(planned)
        return
    rows = [
        (
            f"{point.offered_per_second:,.0f}",
            f"{point.answered_per_second:,.0f}",
            f"{point.p50_ms:.2f}",
            f"{point.p99_ms:.2f}",
            "yes" if point.within else "too much",
        )
        for point in planned.curve
    ]
    columns = ("offered/s", "answered/s", "p50 ms", "p99 ms", "within")
    print_table(planned.version, columns, rows)
    console.print(
        f"One replica takes [bold]{planned.per_replica:,.0f}[/] requests/s "
        f"with a p99 within {p99:g} ms, on this machine."
    )
    if planned.replicas is not None:
        cost = ""
        if planned.monthly_cost is not None:
            cost = f", {planned.monthly_cost:,.0f} a month"
        console.print(
            f"{planned.load:,.0f} requests/s need [bold]{planned.replicas}[/] replicas, "
            f"each used to four fifths{cost}."
        )
