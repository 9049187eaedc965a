"""The verbs for runs: list them, show one, compare several."""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli import completing
from treadle.cli.output import console, markup, print_json, print_table, show_duration, sparkline
from treadle.cli.verbs import Session, add_group
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.tracking.model import Comparison, Difference, Run

RunRef = Annotated[
    str,
    typer.Argument(
        help="A run: its name, its id, or the beginning of it.", autocompletion=completing.RUNS
    ),
]
InProject = Annotated[
    str | None,
    typer.Option(
        "--project",
        help="Only runs of this project (default: all projects).",
        autocompletion=completing.PROJECTS,
    ),
]
MOST_METRICS, SPARK_POINTS = 3, 32
NO_RUNS = (
    "No run yet. Train one with 'treadle run', or record any script: "
    'with treadle.run("NAME") as run: run.log(loss=1.0)'
)
STATUS_COLOUR = {"finished": "green", "failed": "red", "killed": "red", "running": "yellow"}


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_group(app, "runs", "List runs, show one, compare several.", list_, show, compare)


def list_(
    session: Session,
    where: Annotated[
        str, typer.Option(help="A filter such as \"metrics.auc > 0.8 AND params.depth = '6'\".")
    ] = "",
    sort: Annotated[
        list[str],
        typer.Option(help="A field such as 'metrics.auc DESC' or 'start_time'; repeat it."),
    ] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, max=50_000, help="The most runs to list.")] = 20,
    project: InProject = None,
) -> None:
    """List runs, newest first: name, experiment, status, duration and the telling metrics."""
    services = session.services()
    experiments = {each.id: each.name for each in services.tracking.experiments(project=project)}
    page = services.tracking.search(
        experiments=list(experiments), filter=where, order=sort or None, limit=limit
    )
    if session.json:
        print_json(page.runs)
        return
    if not page.runs:
        console.print(_none_found(where), markup=False, soft_wrap=True)
        return
    _print_runs(page.runs, experiments, _telling_metrics(services, page.runs))
    if page.next:
        console.print(f"[dim]The first {len(page.runs)} are shown; more with --limit.[/]")


def show(session: Session, run: RunRef) -> None:
    """Show one run: parameters, metrics with their course, tags, data, files and code."""
    services = session.services()
    found = services.tracking.resolve(ref=run)
    if session.json:
        print_json(_all_of(services, found))
        return
    _print_head(services, found)
    _print_metrics(services, found)
    _print_pairs("Parameters", found.params)
    _print_pairs("Tags", found.tags)
    _print_inputs(services, found)


def compare(
    session: Session,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Two or more runs, each by name, id or the beginning of it.",
            autocompletion=completing.RUNS,
        ),
    ],
) -> None:
    """Show what differs between runs: parameters, data, packages, metrics, tags and code."""
    from treadle.kernel.errors import Invalid

    if len(runs) < 2:
        raise Invalid("One run alone is compared with nothing. Name two or more.")
    tracking = session.services().tracking
    found = [tracking.resolve(ref=ref) for ref in runs]
    comparisons = [tracking.compare(a=found[0].id, b=other.id) for other in found[1:]]
    if session.json:
        print_json(comparisons)
        return
    _print_comparison(found, comparisons)


def _none_found(where: str) -> str:
    return f"No run satisfies: {where}" if where else NO_RUNS


def _telling_metrics(services: "Services", runs: list["Run"]) -> list[str]:
    """The metrics that are shown in the list: what is required first, then what most runs have."""
    projects = {run.project for run in runs}
    required = [
        requirement.metric
        for project in services.scope.projects()
        if project.name in projects
        for requirement in project.spec.requirement
    ]
    counts = Counter(key for run in runs for key in run.metrics)
    common = [key for key, _ in counts.most_common() if not key.startswith(("seconds.", "system/"))]
    telling = [key for key in dict.fromkeys([*required, *common]) if key in counts]
    return telling[:MOST_METRICS]


def _print_runs(runs: list["Run"], experiments: dict[int, str], metrics: list[str]) -> None:
    columns = ("id", "name", "experiment", "status", "started", "duration", *metrics)
    rows = [
        (
            run.id,
            "" if run.name == run.id else run.name,
            experiments.get(run.experiment, run.experiment),
            run.status,
            run.started_at,
            _duration(run),
            *(run.metrics.get(key) for key in metrics),
        )
        for run in runs
    ]
    print_table("", columns, rows, colours=STATUS_COLOUR)


def _duration(run: "Run") -> str:
    """How long a run took, or has taken so far."""
    return show_duration(((run.ended_at or datetime.now(UTC)) - run.started_at).total_seconds())


def _all_of(services: "Services", run: "Run") -> dict[str, object]:
    """A run with all that is shown of it, for programs."""
    tracking = services.tracking
    return {
        "run": run,
        "series": tracking.series(run=run.id),
        "datasets": tracking.datasets(run=run.id),
        "artifacts": tracking.artifacts(run=run.id),
        "environment": tracking.environment(run=run.id),
    }


def _print_head(services: "Services", run: "Run") -> None:
    experiment = services.tracking.experiment(id=run.experiment)
    colour = STATUS_COLOUR.get(run.status, "dim")
    name = "" if run.name == run.id else f"  {markup(run.name)}"
    console.print(f"[bold]{markup(run.id)}[/]{name}  [{colour}]{run.status}[/]", soft_wrap=True)
    told = f"{run.project} / {experiment.name}, by {run.user or 'somebody'}"
    told += f", {run.started_at:%Y-%m-%d %H:%M}, {_duration(run)}"
    console.print(f"[dim]{markup(told)}[/]", soft_wrap=True)


def _print_metrics(services: "Services", run: "Run") -> None:
    """Each metric with its last value, its extremes, and its course where it has one."""
    series = services.tracking.series(run=run.id)
    if not series:
        return
    courses = {
        one.key: services.tracking.chart(runs=[run.id], key=one.key, points=SPARK_POINTS)[0].values
        for one in series
        if one.points > 1
    }
    rows = [
        (one.key, one.last, one.low, one.high, one.points, sparkline(courses.get(one.key, [])))
        for one in series
    ]
    print_table("\nMetrics", ("metric", "last", "least", "greatest", "points", "course"), rows)


def _print_pairs(title: str, pairs: dict[str, str]) -> None:
    if pairs:
        print_table(f"\n{title}", ("name", "value"), sorted(pairs.items()))


def _print_inputs(services: "Services", run: "Run") -> None:
    """What went in and what is kept: data, code and environment, artifacts."""
    tracking = services.tracking
    if datasets := tracking.datasets(run=run.id):
        rows = [(each.name, each.digest[:12], each.context, each.source) for each in datasets]
        print_table("\nData", ("dataset", "version", "for", "source"), rows)
    if environment := tracking.environment(run=run.id):
        code = [("command", shell(*environment.command)), ("python", environment.python)]
        code += [("commit", environment.commit), ("packages", str(len(environment.packages)))]
        print_table("\nCode", ("what", "value"), [row for row in code if row[1]])
    if artifacts := tracking.artifacts(run=run.id):
        console.print(
            f"\n{len(artifacts)} artifacts: {shell('treadle', 'artifacts', 'list', run.id)}",
            markup=False,
            soft_wrap=True,
        )


def _print_comparison(runs: list["Run"], comparisons: list["Comparison"]) -> None:
    """A row for each thing that is not the same in all runs, a column for each run."""
    values = _values_by_thing(comparisons)
    if not values:
        console.print("The runs are the same in all that was compared.")
        return
    rows = [(of, key, *cells) for (of, key), cells in values.items()]
    print_table("", ("of", "what", *(run.name for run in runs)), rows)


def _values_by_thing(
    comparisons: list["Comparison"],
) -> dict[tuple[str, str], list[str | float | None]]:
    """What each run has of each thing that differs: the first run's value, then the others'."""
    differing = [
        {(one.of, one.key): one for one in comparison.differences} for comparison in comparisons
    ]
    things = list(dict.fromkeys(thing for one in differing for thing in one))
    return {thing: _cells([one.get(thing) for one in differing]) for thing in things}


def _cells(differences: "list[Difference | None]") -> list[str | float | None]:
    """The first run's value and each other run's; who does not differ has the first run's."""
    first = next(one.a for one in differences if one is not None)
    return [first, *(first if one is None else one.b for one in differences)]
