"""The daily verbs in the order of a model's life, and those of them that are short."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from treadle.cli import completing
from treadle.cli.applying import apply
from treadle.cli.backtest import backtest
from treadle.cli.output import Json, console, errors, markup, print_json, print_table, progress_bar
from treadle.cli.training import run
from treadle.cli.verbs import Project, Session, add_verbs, project_named
from treadle.cli.wheel import status, why
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.data.task import Told
    from treadle.platform.stages import Services
    from treadle.registry.model import ModelVersion
    from treadle.scope.model import ProjectSpec, Task

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


def init(
    name: Annotated[
        str, typer.Argument(help="The project's name: lower-case letters, digits and hyphens.")
    ],
    csv: Annotated[Path | None, typer.Option(help="A CSV file of your own to learn from.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of it that is to be predicted.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The column of it that only names rows.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What is predicted: binary, multi-class, regression or anomaly (default: told "
            "from the label's values, and asked for when in doubt; never anomaly)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a project that runs: treadle.toml, pipeline.py and a dataset (yours or made-up)."""
    from treadle.cli.scaffold import scaffold
    from treadle.data.task import InDoubt

    declared = _task(task)
    try:
        folder, table = scaffold(name, Path.cwd(), csv, label, id, declared)
    except InDoubt as doubt:
        if json or not sys.stdin.isatty():
            raise
        errors.print(doubt.message, markup=False, soft_wrap=True)
        declared = _task(typer.prompt("task", default="multi-class"))
        folder, table = scaffold(name, Path.cwd(), csv, label, id, declared)
    if json:
        print_json({"project": name, "folder": str(folder), **table._asdict()})
        return
    if table.reason:
        console.print(f"The task is {table.task}: {table.reason}.", markup=False)
    if table.left_out:
        left_out = ", ".join(table.left_out)
        console.print(f"Left out, being neither numbers nor text: {left_out}.", markup=False)
    if table.own_values:
        own = ", ".join(table.own_values)
        console.print(
            f"Left out, as each row has a value of its own there: {own}. If one names the rows, "
            f"say so: --id {shell(table.own_values[0])}",
            markup=False,
        )
    if table.positive:
        gives = "score how strange a row is; strange is that" if table.task == "anomaly" else ""
        gives = gives or "give the probability that"
        console.print(
            f"The model will {gives} {table.label} is {table.positive}; pipeline.py says so.",
            markup=False,
        )
    console.print(
        f"Made [bold]{markup(folder.name)}/[/]: "
        "treadle.toml says what is wanted, pipeline.py how it is made."
    )
    console.print(f"Next: {shell('cd', folder.name)} && treadle run", markup=False)


def check(
    file: Annotated[Path, typer.Argument(help="The file, or the folder it is in.")] = Path(),
    json: Json = False,
) -> None:
    """Check treadle.toml and the steps of its pipeline, without running anything."""
    from treadle.kernel.errors import NotFound
    from treadle.pipelines.step import plan, read_steps
    from treadle.scope.file import read

    spec = read(file)
    folder = file if file.is_dir() else file.parent
    steps = plan(
        read_steps(folder / spec.pipeline.file), given={*spec.data, *spec.pipeline.parameters}
    )
    for name, source in spec.data.items():
        if not (folder / source.source).exists():
            raise NotFound(
                f"There is no '{folder / source.source}', which [data.{name}] names as its source."
            )
    told = _told(spec, folder)
    step_names = [step.name for step in steps]
    if json:
        requirements = [requirement.id for requirement in spec.requirement]
        print_json(
            {
                "project": spec.project.name,
                "task": told.task if told else "",
                "requirements": requirements,
                "steps": step_names,
            }
        )
        return
    if told:
        console.print(f"The task is {told.task}: {told.reason}.", markup=False)
    console.print(
        f"{spec.project.name} is fine: {len(spec.requirement)} requirements; "
        f"{' → '.join(step_names)}",
        markup=False,
    )


def _told(spec: "ProjectSpec", folder: Path) -> "Told | None":
    """What is predicted, as declared or as the label's values tell; both are held together."""
    from treadle.data.task import Told, fits, told_by, values_in
    from treadle.scope.file import check_metrics

    source = spec.learnt
    if source is None:
        return None
    if source.label is None:
        return Told("anomaly", "it is declared, without a label")
    values = values_in(folder / source.source, source.label)
    if values is None:
        return None
    if source.task:
        return fits(values, source.task)
    told = told_by(values, say='task = "{}"')
    check_metrics(spec, told.task)
    return told


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


def _task(name: str | None) -> "Task | None":
    """A task by its name, refused with the near miss."""
    from typing import get_args

    from treadle.kernel.errors import Invalid, did_you_mean
    from treadle.scope.model import Task

    if name is not None and name not in get_args(Task):
        raise Invalid(
            f"There is no task '{name}'.{did_you_mean(name, get_args(Task))} "
            f"There are {', '.join(get_args(Task))}."
        )
    return cast("Task | None", name)


def _id_column(services: "Services", project: str) -> str:
    """The column that names a row, as treadle.toml says."""
    labelled = services.scope.project(name=project).spec.labelled
    return (labelled.id if labelled else None) or "id"
