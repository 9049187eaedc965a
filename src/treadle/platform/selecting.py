"""``treadle.select``: compares kinds of models on a table, as one recorded run each."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.kernel.errors import Invalid, NotFound, did_you_mean, missing_extra
from treadle.kernel.functions import function_at
from treadle.platform.recording import run as recorded
from treadle.recording.recorder import Recording
from treadle.scope.model import METRIC_OF, METRICS_OF, Task

if TYPE_CHECKING:
    from treadle.training.selection.nested import Score

MOST_ROWS = 20_000
"""Rows that candidates are compared on, where nobody says how many."""
Progress = Callable[[str, int, int], None]


class Selection(NamedTuple):
    """What came of a comparison.

    Attributes:
        run: Id of the run; each candidate is a run within it.
        metric: Name of the metric.
        task: What is predicted.
        rows: Rows that were used.
        scores: Scores of the candidates, the simplest candidate first.
        proposed: Name of the simplest candidate within one standard error of the best.
        best: Name of the best candidate.
        left_out: Columns that were no inputs, with the reason.
        unfit: Candidates that could not be fitted to these rows, with the reason.
    """

    run: str
    metric: str
    task: Task
    rows: int
    scores: "list[Score]"
    proposed: str
    best: str
    left_out: dict[str, str]
    unfit: dict[str, str]


def select(
    table: Any,
    label: str,
    *,
    task: Task | None = None,
    metric: str = "",
    id: str = "",
    group: str = "",
    time: str = "",
    positive: str = "",
    candidates: str | None = None,
    own: Mapping[str, Any] | None = None,
    folds: int = 5,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
    jobs: int = 0,
    experiment: str = "select",
    project: str = "",
    home: str | Path | None = None,
    url: str | None = None,
    token: str | None = None,
    told: Progress = lambda *_: None,
) -> Selection:
    """Compare kinds of models by nested cross-validation, and propose the simplest good one.

    On each outer fold a candidate's values are chosen by inner folds of the rows to learn from; the
    outer fold judges what was chosen. Proposed is the simplest candidate whose mean is within one
    standard error of the best one's.

    Args:
        table: A CSV or Parquet file, or a frame of pandas.
        label: The column that is predicted.
        task: ``binary``, ``multi-class`` or ``regression``; None tells it from the label's values.
        metric: Name of the metric; empty takes the task's.
        id: The column that only names rows.
        group: A column whose rows of one value stay on one side, such as a patient's visits.
        time: A column with times; candidates are judged on rows later than those they learn from.
        positive: The value of the label that counts as positive; empty takes the greater of two.
        candidates: Names of built-in candidates, separated by commas; None takes all.
        own: Further candidates by name: estimators of scikit-learn that take a frame, which are
            taken as more complex than the built-in ones.
        folds: Number of outer folds.
        most_rows: Rows that are used at most: the newest where there is a time, else drawn ones; 0
            for all.
        seed: Seed of folds, draws and estimators.
        jobs: Number of processes; 0 for one for each core.
        experiment: Name of the experiment.
        project: The project that the runs belong to.
        home: The home that the runs go to; None takes ``TREADLE_HOME``, else ``.treadle`` beside
            the nearest treadle.toml, else ``.treadle`` here.
        url: The server that the runs go to instead; None takes ``TREADLE_URL``.
        token: The token for the server; None takes ``TREADLE_TOKEN``.
        told: Called with a candidate's name, how many folds are done, and how many there are.

    Returns:
        The scores, and which candidate is proposed.

    Raises:
        InDoubt: The label's values leave the task open.
        Invalid: A column or candidate is unknown, a class has too few rows, or scikit-learn is
            missing.
        NotFound: There is no such file.
    """
    try:
        from treadle.training.selection.nested import Plan, Unfit, nested_score, proposed
        from treadle.training.selection.rows import Roles, prepared, sampled
    except ModuleNotFoundError as error:
        raise missing_extra("train", "Selecting a model") from error
    found = prepared(frame_of(table), Roles(label, id, group, time, positive), task)
    rows = sampled(found.rows, most_rows, seed)
    by = metric or METRIC_OF[found.task]
    if by not in METRICS_OF[found.task]:
        near = did_you_mean(by, METRICS_OF[found.task])
        raise Invalid(f"The task '{found.task}' has no metric '{by}'.{near}")
    chosen = _chosen(found.task, candidates, own or {})
    plan = Plan(by, folds, seed, jobs or len(os.sched_getaffinity(0)))
    about = {"metric": by, "task": found.task, "folds": folds, "rows": len(rows.truth)}
    scores: list[Score] = []
    unfit: dict[str, str] = {}
    total = len(chosen) * folds
    with recorded(
        experiment,
        params=about,
        project=project,
        seed=seed,
        home=home,
        url=url,
        token=token,
        system_metrics=False,
    ) as run:
        for number, one in enumerate(chosen):
            told(one.name, number * folds, total)
            done = partial(_told_fold, told, one.name, number * folds, total)
            try:
                with run.child(one.name, params={"candidate": one.name}) as child:
                    score = nested_score(one, rows, plan, done)
                    _log(child, score, by)
                    scores.append(score)
            except Unfit as error:  # the others are compared without it
                unfit[one.name] = error.message
        pick = proposed(scores, by)
        best = proposed([score._replace(standard_error=0.0) for score in scores], by)
        run.set_tags({"proposed": pick.candidate, "best": best.candidate})
        run.log_json([score._asdict() for score in scores], "leaderboard.json")
    return Selection(
        run.id,
        by,
        found.task,
        len(rows.truth),
        scores,
        pick.candidate,
        best.candidate,
        found.left_out,
        unfit,
    )


def _told_fold(told: Progress, name: str, before: int, total: int, fold: int) -> None:
    told(name, before + fold, total)


def _log(run: Recording, score: "Score", metric: str) -> None:
    """Record how a candidate did."""
    run.log_params({"chosen": score.values} if score.values else {})
    for fold, value in enumerate(score.folds):
        run.log({metric: value}, step=fold)
    run.log(
        {
            f"{metric}_mean": score.mean,
            "fit_seconds": score.fit_seconds,
            "row_microseconds": score.row_microseconds,
        }
    )


def frame_of(table: Any) -> Any:
    """The rows of a file as a frame of pandas; a frame as it is.

    Args:
        table: A CSV or Parquet file, or a frame.

    Raises:
        NotFound: There is no such file.
        Invalid: It cannot be read.
    """
    if not isinstance(table, str | Path):
        return table
    from treadle.data.table_files import read_table

    file = Path(table)
    if not file.exists():
        raise NotFound(f"There is no file '{file}'.")
    found = read_table(file, lambda rows: rows.df())
    if found is None:
        raise Invalid(f"'{file}' cannot be read as CSV or Parquet.")
    return found


def _chosen(task: Task, names: str | None, own: Mapping[str, Any]) -> list[Any]:
    """The candidates, the simplest first."""
    from treadle.training.selection.candidates import Candidate, built_in

    known = {one.name: one for one in built_in(task == "regression")}
    asked = list(known) if names is None else [name.strip() for name in names.split(",") if name]
    for name in asked:
        if name not in known:
            raise Invalid(f"There is no candidate '{name}'.{did_you_mean(name, known)}")
    built = [one for name, one in known.items() if name in asked]
    mine = [Candidate(name, _copies(estimator), {}) for name, estimator in own.items()]
    for name in own:
        if name in known:
            raise Invalid(f"'{name}' is a built-in candidate. Give yours another name.")
    if not built and not mine:
        raise Invalid("There is no candidate to compare.")
    return built + mine


def _copies(estimator: Any) -> Callable[[Any, int], Any]:
    """What makes unfitted copies of an estimator."""
    from sklearn.base import clone

    return lambda _columns, _seed: clone(estimator)


def own_candidate(target: str) -> tuple[str, Any]:
    """Load a candidate of one's own.

    Args:
        target: ``FILE.py:FUNCTION``; the function takes nothing and returns an estimator.

    Returns:
        The function's name, and the estimator.

    Raises:
        Invalid: The function cannot be loaded, or returns no estimator.
        NotFound: There is no such file.
    """
    try:
        made = function_at(target)()
    except Exception as error:  # it is somebody's own code
        told = f"{type(error).__name__}: {error}"
        raise Invalid(f"'{target}', called without arguments, raises {told}") from error
    if not hasattr(made, "fit") or not hasattr(made, "get_params"):
        raise Invalid(f"'{target}' returns {type(made).__name__}, which is no estimator.")
    return target.rpartition(":")[2], made
