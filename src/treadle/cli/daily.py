"""The daily verbs: init, check, run, status, approve, deploy, rollback, ask, label, logs, why."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    errors,
    home_of,
    open_services,
    person,
    print_json,
    print_table,
    show,
)

if TYPE_CHECKING:
    from treadle.evaluation.model import Verdict
    from treadle.events.model import EventRecord
    from treadle.loop.model import ProjectStatus
    from treadle.platform.stages import Services

Project = Annotated[
    str | None, typer.Option("--project", help="The project (default: the one in this folder).")
]


def add_to(app: typer.Typer) -> None:
    for verb in (init, check, run, status, approve, deploy, rollback, ask, label, logs, why):
        app.command()(verb)


def init(
    name: Annotated[
        str, typer.Argument(help="The project's name: lower-case letters, digits and hyphens.")
    ],
    csv: Annotated[Path | None, typer.Option(help="A CSV file of your own to learn from.")] = None,
    label: Annotated[
        str | None, typer.Option(help="The column of it that is to be predicted.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="The column of it that only names rows.")] = None,
) -> None:
    """Make a project that runs: treadle.toml, pipeline.py and a dataset (yours, or a made-up one)."""
    from treadle.cli.scaffold import scaffold

    folder, table = scaffold(name, Path.cwd(), csv, label, id)
    if table.left_out:
        console.print(f"Left out, being neither numbers nor text: {', '.join(table.left_out)}.")
    if table.positive:
        console.print(
            f"The model will give the probability that {table.label} is {table.positive}; pipeline.py says so."
        )
    console.print(
        f"Made [bold]{folder.name}/[/]: treadle.toml says what is wanted, pipeline.py how it is made."
    )
    console.print(f"Next: cd {folder.name} && treadle run")


def check(
    file: Annotated[Path, typer.Argument(help="The file, or the folder it is in.")] = Path(),
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
    console.print(
        f"{spec.project.name} is fine: {len(spec.requirement)} requirements; {' → '.join(s.name for s in steps)}"
    )


def run(
    name: Annotated[str, typer.Option(help="What to call this run.")] = "",
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", help="NAME=VALUE for the pipeline.")
    ] = [],  # noqa: B006
    home: Home = None,
    json: Json = False,
) -> None:
    """Train a candidate on the data and code as they are now, and have it judged. Exit code 1 when it does not pass."""
    from treadle.kernel.event import act_as
    from treadle.platform.start import embedded
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd()) or Path.cwd()
    spec = read(folder)
    place = home_of(home)
    act_as(person())
    with embedded(place) as platform:
        platform.scope.declare_in(spec=spec, folder=str(folder))
        training = platform.training.start(
            project=spec.project.name, name=name, parameters=_parameters(parameter)
        )
        worker = platform.worker("treadle run") if _alone(place) else None

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
                f"Interrupted. The training goes on with 'treadle up'; end it for good with: {stop}",
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
    project: Project = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show the wheel: each stage, each requirement, what is live, what waits for whom."""
    services = open_services(home, url, token)
    names = [project] if project else [found.name for found in services.scope.projects()]
    wheels = [services.loop.status(project=name) for name in names]
    if json:
        print_json(wheels)
        return
    if not wheels:
        console.print("No project yet. Make one with: treadle init NAME")
    for wheel in wheels:
        _print_status(wheel)


def approve(
    version: Annotated[str, typer.Argument(help="NAME:NUMBER or NAME@ALIAS.")],
    comment: Annotated[str, typer.Option(help="What the signature is given on.")] = "",
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Sign a version for production, on the evidence of its verdict."""
    services = open_services(home, url, token)
    found = services.registry.resolve(ref=version)
    signed = services.registry.approve(model=found.model, number=found.number, comment=comment)
    if json:
        print_json(signed)
    elif signed.approval:
        console.print(
            f"{signed.ref} is approved by {signed.approval.by}. Its rollout goes on while 'treadle up' runs."
        )


def deploy(
    version: Annotated[str, typer.Argument(help="NAME:NUMBER or NAME@ALIAS.")],
    to: Annotated[
        str | None, typer.Option(help="The endpoint (default: named like the model).")
    ] = None,
    step: Annotated[list[str], typer.Option(help="A step, such as shadow or 10%; repeat it.")] = [],  # noqa: B006
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Roll a version out to an endpoint, step by step."""
    services = open_services(home, url, token)
    rollout = services.delivery.deploy(version=version, endpoint=to, steps=step or None)
    if json:
        print_json(rollout)
    else:
        console.print(
            f"Rollout {rollout.id} of {rollout.version} to {rollout.endpoint}: {rollout.state}, {' → '.join(rollout.steps)}"
        )


def rollback(
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
    reason: Annotated[
        str, typer.Option(help="Why; it is kept in the event.")
    ] = "asked for on the command line",
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Stop the endpoint's rollout, or go back to the version before, at once."""
    services = open_services(home, url, token)
    found = services.delivery.roll_back(endpoint=endpoint, reason=reason)
    if json:
        print_json(found)
    else:
        console.print(f"{endpoint} answers with {found.model}:{found.champion}.")


def ask(
    endpoint: Annotated[str, typer.Argument(help="The endpoint.")],
    file: Annotated[
        Path, typer.Argument(help="A CSV file with the input columns, one request a row.")
    ],
    id: Annotated[
        str | None,
        typer.Option(help="The column that names each request (default: treadle.toml's)."),
    ] = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Send each row of a CSV file to an endpoint as a request of its own."""
    from treadle.cli.asking import ask_rows

    services = open_services(home, url, token)
    found = services.delivery.endpoint(name=endpoint)
    answers = ask_rows(found, file, id or _id_column(services, found.project))
    if json:
        print_json(answers)
        return
    print_table(
        "",
        ("request", "prediction", "version"),
        [(a.request, a.prediction, a.version) for a in answers[:10]],
    )
    console.print(
        f"{len(answers)} requests answered{', the first 10 are shown' if len(answers) > 10 else ''}."
    )


def label(
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
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Tell what turned out to be true of requests that were answered before."""
    from treadle.cli.asking import read_labels

    services = open_services(home, url, token)
    name = _project(services, project)
    labels = read_labels(file, id or _id_column(services, name), value, positive)
    added = services.data.add_labels(project=name, labels=labels)
    if json:
        print_json({"labels": added})
    else:
        console.print(f"{added} labels added.")


def logs(
    job: Annotated[str, typer.Argument(help="The job.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job ends.")
    ] = False,
    home: Home = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Print what a job has printed."""
    services = open_services(home, url, token)
    offset = 0
    while True:
        chunk = services.jobs.log(job=job, offset=offset)
        console.out(chunk.text, end="")
        moved, offset = chunk.next_offset > offset, chunk.next_offset
        if not moved and (chunk.ended or not follow):
            return
        if not moved:
            time.sleep(0.2)


def why(
    subject: Annotated[
        str, typer.Argument(help="What to ask about, such as NAME@champion, NAME:3 or an endpoint.")
    ],
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Walk from a thing's newest event up the chain of causes."""
    thread = open_services(home, url, token).events.why(subject=subject)
    if json:
        print_json(thread)
        return
    console.print(f"[bold]Why {subject}?[/]")
    for depth, record in enumerate(thread.events):
        lead = "" if depth == 0 else "because "
        console.print(
            f"{'  ' * depth}{lead}[bold]{record.type}[/] {_words(record)}", soft_wrap=True
        )
        console.print(
            f"{'  ' * depth}[dim]event {record.number}, {record.at:%Y-%m-%d %H:%M}, by {record.actor}[/]"
        )


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

    told: set[str] = set()
    with console.status("training …") if not quiet else _silence() as spinner:
        while True:
            found = platform.training.get(run=training)
            for step in platform.pipelines.get(pipeline=found.pipeline).steps:
                if step.state == "succeeded" and step.name not in told and not quiet:
                    told.add(step.name)
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


def _silence() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _print_verdict(services: "Services", verdict: "Verdict") -> None:
    from treadle.evaluation.judge import interval

    colour = {"passed": "green", "refused": "red"}.get(verdict.outcome, "yellow")
    console.print(f"Verdict: [{colour}]{verdict.outcome}[/] on {verdict.rows} rows")
    rows = [(f.check, f.says, f.metric, interval(f), f.bound, f.outcome) for f in verdict.findings]
    print_table("", ("check", "says", "metric", "value [95 % interval]", "wanted", "outcome"), rows)
    if not verdict.findings:
        console.print(verdict.reason, soft_wrap=True)
    for wait in services.loop.status(project=verdict.project).waiting:
        console.print(f"[yellow]→[/] {wait}", soft_wrap=True)


def _print_status(wheel: "ProjectStatus") -> None:
    console.print(
        f"[bold]{wheel.project}[/]  {wheel.problem}  [dim]{wheel.owner}[/]", soft_wrap=True
    )
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
    rows = [(r.id, r.says, r.bound, r.value, r.met) for r in wheel.requirements]
    print_table("\nRequirements", ("id", "says", "bound", "last measured", "met"), rows)
    for wait in wheel.waiting:
        console.print(f"[yellow]→[/] {wait}", soft_wrap=True)
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
    known = [found.name for found in services.scope.projects()]
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
        facts.append(f"{name} [cyan]{show(value) if isinstance(value, float) else text[:160]}[/]")
    return ", ".join(facts)
