"""The daily verbs: init, check, run, status, approve, deploy, rollback, ask, label, logs, why."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from treadle.cli.output import (
    Home,
    Json,
    console,
    errors,
    home_of,
    person,
    print_json,
    print_table,
    show,
)
from treadle.cli.verbs import Session, add_verbs

if TYPE_CHECKING:
    from treadle.evaluation.model import Verdict
    from treadle.events.model import EventRecord
    from treadle.loop.model import ProjectStatus
    from treadle.platform.stages import Services

LONGEST_FACT = 160
"""Characters of an event's fact that 'why' shows."""
Project = Annotated[
    str | None, typer.Option("--project", help="The project (default: the one in this folder).")
]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, init, check, run, status, approve, deploy, rollback, ask, label, logs, why)


def init(
    name: Annotated[
        str, typer.Argument(help="The project's name: lower-case letters, digits and hyphens.")
    ],
    csv: Annotated[Path | None, typer.Option(help="A CSV file of your own to learn from.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of it that is to be predicted.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The column of it that only names rows.")] = None,
    json: Json = False,
) -> None:
    """Make a project that runs: treadle.toml, pipeline.py and a dataset (yours or made-up)."""
    from treadle.cli.scaffold import scaffold

    folder, table = scaffold(name, Path.cwd(), csv, label, id)
    if json:
        print_json({"project": name, "folder": str(folder), **table._asdict()})
        return
    if table.left_out:
        left_out = ", ".join(table.left_out)
        console.print(f"Left out, being neither numbers nor text: {left_out}.", markup=False)
    if table.positive:
        console.print(
            f"The model will give the probability that {table.label} is {table.positive}; "
            "pipeline.py says so.",
            markup=False,
        )
    console.print(
        f"Made [bold]{folder.name}/[/]: "
        "treadle.toml says what is wanted, pipeline.py how it is made."
    )
    console.print(f"Next: cd {folder.name} && treadle run")


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
    step_names = [step.name for step in steps]
    if json:
        requirements = [requirement.id for requirement in spec.requirement]
        print_json(
            {"project": spec.project.name, "requirements": requirements, "steps": step_names}
        )
        return
    console.print(
        f"{spec.project.name} is fine: {len(spec.requirement)} requirements; "
        f"{' → '.join(step_names)}"
    )


def run(
    name: Annotated[str, typer.Option(help="What to call this run.")] = "",
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", help="NAME=VALUE for the pipeline.")
    ] = [],  # noqa: B006
    home: Home = None,
    json: Json = False,
) -> None:
    """Train a candidate on the data and code of now, and judge it. Exit code 1 if it fails."""
    from treadle.kernel.event import act_as
    from treadle.platform.start import embedded
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd()) or Path.cwd()
    spec = read(folder)
    home_folder = home_of(home)
    act_as(person())
    with embedded(home_folder) as platform:
        platform.scope.declare_in(spec=spec, folder=str(folder))
        training = platform.training.start(
            project=spec.project.name, name=name, parameters=_parameters(parameter)
        )
        worker = platform.worker("treadle run") if _alone(home_folder) else None

        def reconcile() -> None:
            moved = worker.reconcile() if worker is not None else 0
            if worker is not None and (moved or not worker.busy):
                moved += platform.reconcile()
            if not moved:
                time.sleep(0.01 if worker is not None else 0.1)

        try:
            verdict = _follow(platform, training.run, reconcile, quiet=json)
        except KeyboardInterrupt:
            stop = f"treadle pipelines cancel --pipeline {training.pipeline}"
            errors.print(
                "Interrupted. The training goes on with 'treadle up'; "
                f"end it for good with: {stop}",
                soft_wrap=True,
            )
            raise
        if worker is not None:
            worker.drain(timeout_seconds=60, reconcile=platform.reconcile)
        if json:
            print_json(verdict)
        else:
            _print_verdict(platform, verdict)
    if verdict.outcome != "passed":
        raise typer.Exit(1)


def status(
    session: Session,
    project: Project = None,
) -> None:
    """Show the wheel: each stage, each requirement, what is live, what waits for whom."""
    services = session.services()
    names = [project] if project else [known.name for known in services.scope.projects()]
    wheels = [services.loop.status(project=name) for name in names]
    if session.json:
        print_json(wheels)
        return
    if not wheels:
        console.print("No project yet. Make one with: treadle init NAME")
    for wheel in wheels:
        _print_status(wheel)


def approve(
    session: Session,
    version: Annotated[str, typer.Argument(help="NAME:NUMBER or NAME@ALIAS.")],
    comment: Annotated[str, typer.Option(help="What the signature is given on.")] = "",
) -> None:
    """Sign a version for production, on the evidence of its verdict."""
    registry = session.services().registry
    candidate = registry.resolve(ref=version)
    signed = registry.approve(model=candidate.model, number=candidate.number, comment=comment)
    if session.json:
        print_json(signed)
    elif signed.approval:
        console.print(
            f"{signed.ref} is approved by {signed.approval.by}. "
            "Its rollout goes on while 'treadle up' runs.",
            markup=False,
        )


def deploy(
    session: Session,
    version: Annotated[str, typer.Argument(help="NAME:NUMBER or NAME@ALIAS.")],
    to: Annotated[
        str | None, typer.Option(help="The endpoint (default: named like the model).")
    ] = None,
    step: Annotated[list[str], typer.Option(help="A step, such as shadow or 10%; repeat it.")] = [],  # noqa: B006
) -> None:
    """Roll a version out to an endpoint, step by step."""
    delivery = session.services().delivery
    rollout = delivery.deploy(version=version, endpoint=to, steps=step or None)
    if session.json:
        print_json(rollout)
    else:
        console.print(
            f"Rollout {rollout.id} of {rollout.version} to {rollout.endpoint}: "
            f"{rollout.state}, {' → '.join(rollout.steps)}",
            markup=False,
        )


def rollback(
    session: Session,
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
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
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
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
    name = _project(services, project)
    labels = read_labels(file, id or _id_column(services, name), value, positive)
    added = services.data.add_labels(project=name, labels=labels)
    if session.json:
        print_json({"labels": added})
    else:
        console.print(f"{added} labels added.")


def logs(
    session: Session,
    job: Annotated[str, typer.Argument(help="The job.")],
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


def why(
    session: Session,
    subject: Annotated[
        str, typer.Argument(help="What to ask about, such as NAME@champion, NAME:3 or an endpoint.")
    ],
) -> None:
    """Walk from a thing's newest event up the chain of causes."""
    thread = session.services().events.why(subject=subject)
    if session.json:
        print_json(thread)
        return
    console.print(f"[bold]Why {escape(subject)}?[/]")
    for depth, record in enumerate(thread.events):
        indent, lead = "  " * depth, "" if depth == 0 else "because "
        console.print(f"{indent}{lead}[bold]{record.type}[/] {_words(record)}", soft_wrap=True)
        told = f"event {record.number}, {record.at:%Y-%m-%d %H:%M}, by {escape(record.actor)}"
        console.print(f"{indent}[dim]{told}[/]")


def _alone(home: Path) -> bool:
    """Whether this process may turn the wheel itself: nobody else does so in this home."""
    from treadle.kernel import process
    from treadle.kernel.errors import Conflict

    try:
        process.hold(home / "run" / "worker.lock", what=f"The worker of '{home}'")
    except Conflict:
        return False
    return True


def _follow(
    platform: "Services", training: str, reconcile: Callable[[], None], *, quiet: bool
) -> "Verdict":
    """Turn until the training is judged, telling each step as it ends."""
    from treadle.kernel.errors import TreadleError

    shown_steps: set[str] = set()
    with console.status("training …") if not quiet else nullcontext() as spinner:
        while True:
            found = platform.training.get(run=training)
            for step in platform.pipelines.get(pipeline=found.pipeline).steps:
                if step.state == "succeeded" and step.name not in shown_steps and not quiet:
                    shown_steps.add(step.name)
                    how = "from the cache" if step.cached else f"in {step.seconds:.1f} s"
                    console.print(f"[green]✓[/] {step.name} {how}")
            if found.state == "failed":
                raise TreadleError(f"The training failed. {found.error}")
            if found.state == "succeeded" and spinner is not None:
                spinner.update("judging …")
            verdicts = platform.evaluation.find(run=training, limit=1)
            if verdicts:
                return verdicts[0]
            reconcile()


def _print_verdict(services: "Services", verdict: "Verdict") -> None:
    from treadle.evaluation.judge import interval

    colour = {"passed": "green", "refused": "red"}.get(verdict.outcome, "yellow")
    console.print(f"Verdict: [{colour}]{verdict.outcome}[/] on {verdict.rows} rows")
    rows = [
        (
            finding.check,
            finding.says,
            finding.metric,
            interval(finding),
            finding.bound,
            finding.outcome,
        )
        for finding in verdict.findings
    ]
    print_table("", ("check", "says", "metric", "value [95 % interval]", "wanted", "outcome"), rows)
    if not verdict.findings:
        console.print(verdict.reason, markup=False, soft_wrap=True)
    for wait in services.loop.status(project=verdict.project).waiting:
        console.print(f"[yellow]→[/] {escape(wait)}", soft_wrap=True)


def _print_status(wheel: "ProjectStatus") -> None:
    problem, owner = escape(wheel.problem), escape(wheel.owner)
    console.print(f"[bold]{wheel.project}[/]  {problem}  [dim]{owner}[/]", soft_wrap=True)
    training, verdict, rollout, window = wheel.training, wheel.verdict, wheel.rollout, wheel.window
    stages = [
        ("train", f"{training.state} ({training.run})" if training else None),
        ("evaluate", f"{verdict.outcome}: {verdict.reason}" if verdict else None),
        ("register", f"champion is {wheel.champion.ref}" if wheel.champion else None),
        ("deploy", f"{rollout.version} {rollout.state} {rollout.reason}" if rollout else None),
        *(("serve", f"{e.name} at {', '.join(e.urls) or 'no process'}") for e in wheel.endpoints),
        (
            "monitor",
            f"{window.rows} answers, {window.errors} errors until {window.end:%Y-%m-%d %H:%M}"
            if window
            else None,
        ),
    ]
    print_table("", ("stage", "now"), stages)
    rows = [
        (requirement.id, requirement.says, requirement.bound, requirement.value, requirement.met)
        for requirement in wheel.requirements
    ]
    print_table("\nRequirements", ("id", "says", "bound", "last measured", "met"), rows)
    for wait in wheel.waiting:
        console.print(f"[yellow]→[/] {escape(wait)}", soft_wrap=True)
    console.print()


def _id_column(services: "Services", project: str) -> str:
    """The column that names a row, as treadle.toml says."""
    labelled = services.scope.project(name=project).spec.labelled
    return (labelled.id if labelled else None) or "id"


def _project(services: "Services", project: str | None) -> str:
    from treadle.kernel.errors import Invalid
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    if project is None and folder is not None:
        return read(folder).project.name
    known = [each.name for each in services.scope.projects()]
    if project is None and len(known) != 1:
        raise Invalid(
            f"Which project? Name it with --project. Known: {', '.join(known) or 'none'}."
        )
    return project or known[0]


def _parameters(given: list[str]) -> dict[str, Any]:
    from treadle.kernel.errors import Invalid

    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Invalid(f"'{text}' is no parameter. Write NAME=VALUE.")
        parameters[name] = _number(value)
    return parameters


def _number(text: str) -> str | int | float | bool:
    """A value as TOML would read it, and as text when TOML would not."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _words(record: "EventRecord") -> str:
    """An event's own facts in one line, without the digests."""
    facts = []
    for name, value in record.body.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, dict) or value is None or (len(text) == 64 and text.isalnum()):
            continue
        if isinstance(value, float):
            text = show(value)
        elif len(text) > LONGEST_FACT:
            text = f"{text[:LONGEST_FACT]} …"
        facts.append(f"{name} [cyan]{escape(text)}[/]")
    return ", ".join(facts)
