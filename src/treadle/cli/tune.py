"""The verbs of tuning: search, read what came out, and take the best values over."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli.output import (
    Home,
    Json,
    console,
    errors,
    home_of,
    markup,
    person,
    print_json,
    print_table,
    progress_bar,
    show,
)
from treadle.cli.verbs import Project, Session, add_group, project_named

if TYPE_CHECKING:
    from treadle.platform.stages import Services
    from treadle.platform.wiring import Embedded
    from treadle.tuning.model import Study, Trial

Named = Annotated[
    str, typer.Option("--study", help="The study (default: the project's newest one).")
]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    about = "Search for hyper-parameters as treadle.toml declares; show and take over the best."
    add_group(app, "tune", about, start, show_, best, importances, apply)


def start(
    study: Annotated[str, typer.Option("--study", help="What to call the study.")] = "",
    trials: Annotated[
        int | None, typer.Option(min=1, help="The most trials (default: as declared).")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="After this time no trial begins; 0: no limit.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that run trials (default: as declared).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study; --trials extends it.")
    ] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Search for hyper-parameters: trials train on a part of the training rows.

    Each trial is the project's own training with other parameters, judged on validation rows that
    it has not learnt from; the holdout stays unseen. Exit code 1 where no trial has finished.
    """
    from treadle.kernel.errors import Invalid
    from treadle.kernel.event import act_as
    from treadle.platform.start import embedded
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd()) or Path.cwd()
    spec = read(folder)
    if spec.tune is None:
        raise Invalid(
            f"{folder / 'treadle.toml'} does not say what to tune. Declare a space: [tune.space] "
            "with one line for each parameter, such as: rate = { low = 0.01, high = 1.0 }"
        )
    act_as(person())
    with embedded(home_of(home)) as platform:
        platform.scope.declare_in(spec=spec, folder=str(folder))
        going = _begin(platform, spec.project.name, study, trials, resume)
        count = spec.tune.workers if workers is None else workers
        limit = spec.tune.seconds if seconds is None else seconds
        done = _follow(platform, going, count, limit, json)
        if json:
            print_json({"study": done.name, "counts": done.counts,
                        "best": platform.tuning.best(study=done.name)})  # fmt: skip
        else:
            _print_done(platform, done)
    if not done.counts.get("finished"):
        raise typer.Exit(1)


def show_(session: Session, study: Named = "", project: Project = None) -> None:
    """Show a study's trials: their values, what was measured, and how they ended."""
    services = session.services()
    name = _named(services, study, project)
    trials = services.tuning.trials(study=name)
    if session.json:
        print_json({"study": services.tuning.get(study=name), "trials": trials})
    else:
        _print_trials(name, trials)


def best(session: Session, study: Named = "", project: Project = None) -> None:
    """Show the best trial of a study, or the Pareto front of several objectives."""
    services = session.services()
    name = _named(services, study, project)
    found = services.tuning.best(study=name)
    if session.json:
        print_json(found)
    elif found:
        _print_trials(f"best of {name}", found)
    else:
        console.print("No trial has finished within the constraints.")


def importances(
    session: Session,
    study: Named = "",
    metric: Annotated[str, typer.Option(help="The objective (default: the first one).")] = "",
    project: Project = None,
) -> None:
    """Show how much of a metric's variation each parameter explains (PED-ANOVA)."""
    services = session.services()
    name = _named(services, study, project)
    shares = services.tuning.importances(study=name, metric=metric)
    if session.json:
        print_json(shares)
    else:
        print_table("", ("parameter", "share"), shares.items())


def apply(
    session: Session,
    study: Named = "",
    trial: Annotated[
        int | None, typer.Option(help="Number of the trial (default: the best one).")
    ] = None,
    project: Project = None,
) -> None:
    """Write a trial's values into [pipeline.parameters] of this folder's treadle.toml.

    Every later training has them, those that the loop starts too: treadle run trains, judges and
    registers a candidate with them.
    """
    from treadle.kernel.errors import Conflict, NotFound
    from treadle.scope.file import nearest
    from treadle.scope.parameters import with_parameters

    services = session.services()
    name = _named(services, study, project)
    if trial is None:
        found = services.tuning.best(study=name)
    else:
        found = [services.tuning.trial(study=name, number=trial)]
    if not found:
        raise NotFound(f"No trial of study '{name}' has finished within the constraints.")
    if len(found) > 1:
        numbers = ", ".join(str(one.number) for one in found)
        raise Conflict(f"Trials {numbers} are all best in some objective. Choose one: --trial N")
    file = (nearest(Path.cwd()) or Path.cwd()) / "treadle.toml"
    if not file.exists():
        raise NotFound(f"There is no '{file}'. Call this in the project's folder.")
    with_parameters(file, found[0].params)
    if session.json:
        print_json({"file": str(file), "parameters": found[0].params})
    else:
        console.print(
            f"{file} has the values of trial {found[0].number}. Next: treadle run",
            markup=False,
            soft_wrap=True,
        )


def _begin(
    platform: "Embedded", project: str, study: str, trials: int | None, resume: bool
) -> "Study":
    from treadle.platform.tuning import name_now

    if not resume:
        return platform.tuning.start_of(project, study or name_now(project), trials)
    name = _named(platform, study, project)
    if trials is not None:
        platform.tuning.extend(study=name, trials=trials)
    return platform.tuning.get(study=name)


def _follow(
    platform: "Embedded", study: "Study", workers: int, seconds: float, json: bool
) -> "Study":
    """Let workers run trials until the study is done, and show the best value so far."""
    from treadle.platform.trial_crew import LOOK_SECONDS, Crew

    crew = Crew(platform, study.name, workers, seconds)
    try:
        with progress_bar(json) as told:
            told_of = -1
            while crew.tend():
                if crew.ended > told_of:
                    told_of = crew.ended
                    now = platform.tuning.get(study=study.name)
                    ended = sum(
                        n for state, n in now.counts.items() if state not in ("running", "waiting")
                    )
                    told(_best_so_far(platform, now), ended, now.plan.trials)
                time.sleep(LOOK_SECONDS)
    except BaseException as error:
        crew.stop()
        if isinstance(error, KeyboardInterrupt):
            errors.print("Interrupted. Go on with: treadle tune --resume", markup=False)
        else:
            platform.tuning.finish(study=study.name, status="failed")
        raise
    return platform.tuning.finish(study=study.name)


def _best_so_far(services: "Services", study: "Study") -> str:
    if len(study.best) != 1:
        return f"{len(study.best)} best trials" if study.best else "searching"
    found = services.tuning.trial(study=study.name, number=study.best[0])
    metric = study.plan.metrics[0]
    return f"best {metric} {found.metrics[metric]:.6g}"


def _print_done(services: "Services", study: "Study") -> None:
    counts = ", ".join(f"{n} {state}" for state, n in sorted(study.counts.items()))
    console.print(f"Study [bold]{markup(study.name)}[/]: {markup(counts)}.", soft_wrap=True)
    found = services.tuning.best(study=study.name)
    if found:
        _print_trials("best", found)
        console.print("Take the values over with: treadle tune apply && treadle run", markup=False)
    else:
        errors.print("No trial has finished within the constraints. See: treadle tune show")


def _print_trials(title: str, trials: "list[Trial]") -> None:
    params = list(dict.fromkeys(name for one in trials for name in one.params))
    metrics = list(dict.fromkeys(name for one in trials for name in one.metrics))
    rows: list[tuple[Any, ...]] = [
        (
            one.number,
            one.state if one.feasible else f"{one.state}, beyond a constraint",
            *(show(one.params.get(name)) for name in params),
            *(show(one.metrics.get(name)) for name in metrics),
            one.error,
        )
        for one in trials
    ]
    failed = any(one.error for one in trials)
    columns = ("trial", "state", *params, *metrics, "error")
    if not failed:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(title, columns, rows, colours={"failed": "red", "pruned": "yellow"})


def _named(services: "Services", study: str, project: str | None) -> str:
    """The study that is meant: the one named, else the newest of the project."""
    from treadle.kernel.errors import NotFound

    if study:
        return study
    found = services.tuning.studies(project=project_named(services, project), limit=1)
    if not found:
        raise NotFound("There is no study yet. Begin one with: treadle tune")
    return found[0].name
