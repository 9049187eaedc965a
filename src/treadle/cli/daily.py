"""The daily verbs in the order of a model's life, and those of them that are short."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.applying import apply
from treadle.cli.backtest import backtest
from treadle.cli.output import console, markup, print_json, print_table, progress_bar
from treadle.cli.project_files import check, init
from treadle.cli.training import run
from treadle.cli.verbs import Project, Session, add_verbs, project_named
from treadle.cli.wheel import status, why

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.registry.model import ModelVersion

Version = Annotated[
    str,
    typer.Argument(help="NAME:NUMBER or NAME@ALIAS.", autocompletion=completing.VERSIONS),
]
Endpoint = Annotated[str, typer.Argument(help="The endpoint.", autocompletion=completing.ENDPOINTS)]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(
        app,
        init,
        check,
        run,
        apply,
        status,
        approve,
        deploy,
        rollback,
        ask,
        label,
        logs,
        why,
        backtest,
    )


def approve(
    session: Session,
    version: Annotated[
        str | None,
        typer.Argument(
            help="NAME:NUMBER or NAME@ALIAS (default: the one that waits for an approver).",
            autocompletion=completing.VERSIONS,
        ),
    ] = None,
    comment: Annotated[str, typer.Option(help="What the signature is given on.")] = "",
) -> None:
    """Sign a version for production, on the evidence of its verdict."""
    services = session.services()
    registry = services.registry
    candidate = registry.resolve(ref=version or _waiting(services))
    signed = registry.approve(model=candidate.model, number=candidate.number, comment=comment)
    if session.json:
        print_json(signed)
    elif signed.approval:
        console.print(
            f"{signed.ref} is approved by {signed.approval.by}. "
            "Its rollout goes on while 'treadle up' runs.",
            markup=False,
        )


def _waiting(services: "Services") -> str:
    """The one version that waits for an approver."""
    from treadle.kernel.errors import Invalid, NotFound

    rollouts = [
        rollout
        for endpoint in services.delivery.endpoints()
        for rollout in services.delivery.rollouts(endpoint=endpoint.name, state="waiting")
    ]
    versions = sorted({rollout.version for rollout in rollouts})
    if not versions:
        raise NotFound("No version waits for an approver. See what there is with: treadle status")
    if len(versions) > 1:
        raise Invalid(f"Several versions wait for an approver: {', '.join(versions)}. Name one.")
    return versions[0]


def deploy(
    session: Session,
    version: Version,
    to: Annotated[
        str | None, typer.Option(help="The endpoint (default: named like the model).")
    ] = None,
    step: Annotated[list[str], typer.Option(help="A step, such as shadow or 10%; repeat it.")] = [],  # noqa: B006
    example: Annotated[
        Path | None,
        typer.Option(help="Parquet or CSV: rows as a model of MLflow's client takes them."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run code that the model holds: a pickle, a Python class."),
    ] = False,
) -> None:
    """Roll a version out to an endpoint, step by step."""
    from treadle.kernel.errors import Conflict

    services = session.services()
    found = services.registry.resolve(ref=version)
    packaged = not found.package
    if packaged:
        found = _packaged(services, found, example, trust=trust, json=session.json)
    if trust and _trust(services, found):
        name = to or found.model
        if any((e.name, e.champion) == (name, found.number) for e in services.delivery.endpoints()):
            told = f"'{name}' serves {found.ref}, whose code may run on this machine now."
            print_json(found) if session.json else console.print(told, markup=False)
            return
    try:
        rollout = services.delivery.deploy(version=found.ref, endpoint=to, steps=step or None)
    except Conflict:  # the loop rolls out what was packaged: it was faster
        newest = services.delivery.rollouts(endpoint=to or found.model, limit=1)
        if not packaged or not newest or newest[0].number != found.number:
            raise
        rollout = newest[0]
    if session.json:
        print_json(rollout)
    else:
        console.print(
            f"Rollout {rollout.id} of {rollout.version} to {rollout.endpoint}: "
            f"{rollout.state}, {' → '.join(rollout.steps)}",
            markup=False,
        )


def _packaged(
    services: "Services",
    version: "ModelVersion",
    example: Path | None,
    *,
    trust: bool,
    json: bool,
) -> "ModelVersion":
    """A version that MLflow's client has registered, with the package that is made of it."""
    from treadle.platform import adopting

    with progress_bar(json) as progress:
        progress("packaging", 0, 1)
        made = adopting.register(
            services, version.model, version.ref, example=example, trusted=trust
        )
    if not json:
        console.print(
            f"[bold]{markup(made.version.ref)}[/] is packaged: {made.inputs} inputs, gives "
            f"{markup(made.output)}, run by {markup(made.runtime)}."
        )
    return made.version


def _trust(services: "Services", version: "ModelVersion") -> bool:
    """Let the model servers of a home on this machine run a package's code; whether it has any."""
    from treadle.kernel.errors import Forbidden
    from treadle.platform.runtimes import RUNNING_CODE, trust
    from treadle.platform.wiring import Embedded
    from treadle.registry.signatures import signature_of

    signature = signature_of(services.blobs, version.package)
    if signature is None or signature.runtime not in RUNNING_CODE:
        return False
    if not isinstance(services, Embedded):
        raise Forbidden(
            f"{version.ref} is packaged and runs code, which is trusted on the server's own "
            f"machine only: TREADLE_TRUST={version.model} treadle up. Then deploy it without "
            "--trust."
        )
    trust(services.settings.folder, version.package)
    return True


def rollback(
    session: Session,
    endpoint: Endpoint,
    reason: Annotated[
        str, typer.Option(help="Why; it is kept in the event.")
    ] = "asked for on the command line",
) -> None:
    """Stop the endpoint's rollout, or go back to the version before, at once."""
    restored = session.services().delivery.roll_back(endpoint=endpoint, reason=reason)
    if session.json:
        print_json(restored)
    else:
        console.print(
            f"{endpoint} answers with {restored.model}:{restored.champion}.", markup=False
        )


def ask(
    session: Session,
    endpoint: Endpoint,
    file: Annotated[
        Path, typer.Argument(help="A CSV file with the input columns, one request a row.")
    ],
    id: Annotated[
        str | None,
        typer.Option(help="The column that names each request (default: treadle.toml's)."),
    ] = None,
) -> None:
    """Send each row of a CSV file to an endpoint as a request of its own."""
    from treadle.cli.asking import ask_rows

    services = session.services()
    asked_endpoint = services.delivery.endpoint(name=endpoint)
    answers = ask_rows(asked_endpoint, file, id or _id_column(services, asked_endpoint.project))
    if session.json:
        print_json(answers)
        return
    print_table(
        "",
        ("request", "prediction", "version"),
        [(answer.request, answer.prediction, answer.version) for answer in answers[:10]],
    )
    shown = ", the first 10 are shown" if len(answers) > 10 else ""
    console.print(f"{len(answers)} requests answered{shown}.")


def label(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A CSV file with the truth of each request.")],
    value: Annotated[str, typer.Option(help="The column that holds the truth.")],
    positive: Annotated[
        str | None, typer.Option(help="The word that counts as 1, where the truth is in words.")
    ] = None,
    id: Annotated[
        str | None,
        typer.Option(help="The column that names the request (default: treadle.toml's)."),
    ] = None,
    project: Project = None,
) -> None:
    """Tell what turned out to be true of requests that were answered before."""
    from treadle.cli.asking import read_labels

    services = session.services()
    name = project_named(services, project)
    classes = [] if positive else services.data.classes(project=name)
    labels = read_labels(file, id or _id_column(services, name), value, positive, classes)
    added = services.data.add_labels(project=name, labels=labels)
    if session.json:
        print_json({"labels": added})
    else:
        console.print(f"{added} labels added.")


def logs(
    session: Session,
    job: Annotated[str, typer.Argument(help="The job.", autocompletion=completing.JOBS)],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends.")
    ] = False,
) -> None:
    """Print what a job has printed."""
    jobs = session.services().jobs
    text, offset = "", 0
    while True:
        chunk = jobs.log(job=job, offset=offset)
        if session.json:
            text += chunk.text
        else:
            console.out(chunk.text, end="")
        moved, offset = chunk.next_offset > offset, chunk.next_offset
        if not moved and (chunk.ended or not follow):
            break
        if not moved:
            time.sleep(0.2)
    if session.json:
        print_json({"job": job, "text": text, "ended": chunk.ended})


def _id_column(services: "Services", project: str) -> str:
    """The column that names a row, as treadle.toml says."""
    labelled = services.scope.project(name=project).spec.labelled
    return (labelled.id if labelled else None) or "id"
