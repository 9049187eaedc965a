"""The verb select: compares kinds of models, and proposes the simplest good one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    errors,
    markup,
    print_json,
    print_table,
    progress_bar,
)
from treadle.cli.verbs import add_verbs
from treadle.kernel.errors import Invalid

if TYPE_CHECKING:
    from treadle.platform.selecting import Selection


def add_to(app: typer.Typer) -> None:
    """Add the verb to the app.

    Args:
        app: The app.
    """
    add_verbs(app, select)


def select(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A CSV or Parquet file (default: the rows of this folder's project, but for its "
            "holdout)."
        ),
    ] = None,
    label: Annotated[
        str, typer.Option(help="The column that is predicted (default: the project's).")
    ] = "",
    task: Annotated[
        str, typer.Option(help="binary, multi-class or regression (default: told from the label).")
    ] = "",
    metric: Annotated[str, typer.Option(help="What is compared (default: the task's).")] = "",
    id: Annotated[str, typer.Option(help="The column that only names rows.")] = "",
    group: Annotated[
        str, typer.Option(help="A column whose rows of one value stay together.")
    ] = "",
    time: Annotated[
        str, typer.Option(help="A column with times: candidates are judged on later rows.")
    ] = "",
    positive: Annotated[str, typer.Option(help="The label's value that counts as positive.")] = "",
    candidates: Annotated[
        str | None,
        typer.Option(
            help="Some of baseline, linear, tree, forest, boosting, neural, separated by commas "
            "(default: all)."
        ),
    ] = None,
    own: Annotated[
        list[str],
        typer.Option(help="FILE.py:FUNCTION, which returns an estimator of your own. Repeatable."),
    ] = [],  # noqa: B006
    folds: Annotated[int, typer.Option(min=2, help="How many folds judge.")] = 5,
    rows: Annotated[
        int, typer.Option(min=0, help="Rows that are used at most; 0 for all.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of folds and models.")] = 0,
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Compare kinds of models by nested cross-validation, and propose the simplest good one.

    Proposed is the simplest candidate within one standard error of the best. Each candidate is a
    recorded run.
    """
    from treadle.platform import selecting
    from treadle.scope.model import Task

    given = {"label": label, "id": id, "time": time, "positive": positive, "task": task}
    table, project = (str(file), "") if file is not None else _project_rows(given)
    if not given["label"]:
        raise Invalid("Say which column is predicted: --label NAME")
    declared: Task | None = given["task"] or None  # type: ignore[assignment]
    with progress_bar(json) as told:
        found = selecting.select(
            table,
            given["label"],
            task=declared,
            metric=metric,
            id=given["id"],
            group=group,
            time=given["time"],
            positive=given["positive"],
            candidates=candidates,
            own=_own(own),
            folds=folds,
            most_rows=rows,
            seed=seed,
            project=project,
            home=home,
            url=url,
            token=token,
            told=told,
        )
    if json:
        scores = [score._asdict() for score in found.scores]
        print_json({**found._asdict(), "scores": scores})
    else:
        _print(found)


def _own(targets: list[str]) -> dict[str, object]:
    """Estimators of one's own, by the names of their functions."""
    from treadle.platform.selecting import own_candidate

    found = [own_candidate(target) for target in targets]
    if len({name for name, _ in found}) < len(found):
        raise Invalid("Two of --own have functions of one name. Rename one of them.")
    return dict(found)


def _project_rows(given: dict[str, str]) -> tuple[object, str]:
    """The rows of this folder's project that are not held out, and its name.

    What the project declares fills what was not given.
    """
    from treadle.data.splits import held_out
    from treadle.platform.selecting import frame_of
    from treadle.scope.file import nearest, read

    folder = nearest(Path.cwd())
    if folder is None:
        raise Invalid("Here is no treadle.toml. Name a file: treadle select rows.csv --label NAME")
    spec = read(folder)
    source = spec.learnt
    if source is None:
        raise Invalid("treadle.toml declares no data to learn from. Name a file, and --label.")
    for name, value in given.items():
        given[name] = value or getattr(source, name) or ""
    table = frame_of(folder / source.source)
    return table[~held_out(table, given["id"] or None)], spec.project.name


def _print(found: "Selection") -> None:
    for name, why in found.left_out.items():
        errors.print(f"Left out: {markup(name)}: {markup(why)}.", soft_wrap=True)
    for name, why in found.unfit.items():
        errors.print(f"{markup(name)} cannot be fitted: {markup(why)}", soft_wrap=True)
    table = [
        [
            score.candidate + (" ←" if score.candidate == found.proposed else ""),
            f"{score.mean:.4f}",
            f"±{score.high - score.mean:.4f}",
            f"{score.fit_seconds:.3g}",
            f"{score.row_microseconds:.3g}",
            ", ".join(f"{key.rpartition('__')[2]}={value}" for key, value in score.values.items()),
        ]
        for score in found.scores
    ]
    head = ["candidate", found.metric, "95 %", "fit s", "µs/row", "chosen"]
    print_table(f"{found.task}, {found.rows:,} rows", head, table)
    best = next(score for score in found.scores if score.candidate == found.best)
    if found.proposed == found.best:
        says = f"{found.best} is the best, and no simpler one is within one standard error of it"
    else:
        error = f"{best.standard_error:.4f}"
        says = f"it is the simplest within one standard error ({error}) of {found.best}"
    console.print(f"Proposed: {markup(found.proposed)}: {markup(says)}.", soft_wrap=True)
    if found.proposed == "baseline":
        console.print("Nothing here predicts better than a constant does.")
    console.print(f"Runs: treadle runs show {markup(found.run)}", soft_wrap=True)
