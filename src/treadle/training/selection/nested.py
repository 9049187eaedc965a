"""Nested cross-validation: inner folds choose values, outer folds judge on rows not seen."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from treadle.kernel.errors import Invalid
from treadle.stats.metrics import lower_is_better, metric
from treadle.stats.student import t_quantile
from treadle.training.selection.candidates import Candidate, Columns

INNER_FOLDS = 3
_TIMED_ROWS = 1000
_FEWEST_SCORES = 2
"""Folds that a metric could be measured on, from which a mean and an interval are given."""


class Rows(NamedTuple):
    """What models learn from and are judged on.

    Attributes:
        table: The inputs, a frame of shape (rows, columns).
        columns: Which of them are numbers and which text.
        truth: Positions of classes, or numbers (rows,).
        classes: Names of the classes; empty where numbers are predicted.
        groups: The group of each row, whose rows stay together; None for none.
        in_time: Whether the rows are in the order of time: each fold is judged on later rows.
    """

    table: Any
    columns: Columns
    truth: NDArray[Any]
    classes: list[str]
    groups: NDArray[Any] | None = None
    in_time: bool = False


class Plan(NamedTuple):
    """How candidates are compared.

    Attributes:
        metric: Name of the metric.
        folds: Number of outer folds.
        seed: Seed of folds and estimators.
        jobs: Number of processes.
    """

    metric: str
    folds: int = 5
    seed: int = 0
    jobs: int = 1


class Score(NamedTuple):
    """How a candidate did.

    Attributes:
        candidate: Its name.
        mean: Mean of the metric over the outer folds.
        low: Lower end of its interval of 95 %.
        high: Upper end.
        standard_error: Its standard error; training sets of folds overlap, which it allows for.
        folds: The metric on each outer fold.
        values: The values that most outer folds chose, by parameter.
        fit_seconds: Seconds of one fit, in the median.
        row_microseconds: Time to predict a row, of a thousand at once, in the median.
        seconds: Seconds that the comparison took for this candidate.
    """

    candidate: str
    mean: float
    low: float
    high: float
    standard_error: float
    folds: list[float]
    values: dict[str, Any]
    fit_seconds: float
    row_microseconds: float
    seconds: float


class Unfit(Invalid):
    """A candidate that cannot be fitted to these rows."""


class _Fitted(NamedTuple):
    score: float
    fit_seconds: float
    row_seconds: float


def nested_score(
    candidate: Candidate, rows: Rows, plan: Plan, told: Callable[[int], None] = lambda _: None
) -> Score:
    """Judge one candidate.

    The standard error is that of Nadeau and Bengio (Machine Learning 52, 2003): folds share rows
    to learn from, so the variance over k folds is multiplied by 1/k + judged rows / learnt rows.

    Args:
        candidate: The candidate.
        rows: What it learns from and is judged on.
        plan: How candidates are compared.
        told: Called with the number of outer folds that are done.

    Raises:
        Invalid: A class has fewer rows than there are folds, or groups are too few.
        Unfit: It cannot be fitted to these rows.
    """
    begun = time.perf_counter()
    grid = [
        dict(zip(candidate.values, one, strict=True)) for one in product(*candidate.values.values())
    ]
    found, chosen, ratios = [], [], []
    with Parallel(n_jobs=plan.jobs) as parallel:
        for number, (learnt, judged) in enumerate(splits(rows, plan.folds, plan.seed)):
            values = grid[0]
            if len(grid) > 1:
                values = _best(parallel, candidate, _part(rows, learnt), plan, grid)
            try:
                found.append(_fitted(candidate, rows, learnt, judged, plan, values))
            except Exception as reason:  # of the candidate's own library, whatever it is
                raise Unfit(f"{type(reason).__name__}: {reason}") from reason
            chosen.append(values)
            ratios.append(len(judged) / len(learnt))
            told(number + 1)
    scores = [one.score for one in found]
    mean, error, half = _interval([one for one in scores if math.isfinite(one)], ratios)
    most = Counter(map(repr, chosen)).most_common(1)[0][0]
    return Score(
        candidate.name,
        mean,
        mean - half,
        mean + half,
        error,
        scores,
        next(values for values in chosen if repr(values) == most),
        float(np.median([one.fit_seconds for one in found])),
        float(np.median([one.row_seconds for one in found])) * 1e6,
        time.perf_counter() - begun,
    )


def _interval(scores: list[float], ratios: list[float]) -> tuple[float, float, float]:
    """Mean, standard error and half the interval of scores; not numbers where there are too few."""
    if len(scores) < _FEWEST_SCORES:
        return math.nan, math.nan, math.nan
    variance = float(np.var(scores, ddof=1))
    error = math.sqrt(variance * (1 / len(scores) + float(np.mean(ratios))))
    return float(np.mean(scores)), error, t_quantile(0.975, len(scores) - 1) * error


def proposed(scores: list[Score], metric_name: str) -> Score:
    """The simplest candidate within one standard error of the best one.

    Args:
        scores: Scores of the candidates, the simplest candidate first.
        metric_name: Name of the metric.

    Raises:
        Invalid: No candidate has a score.
    """
    sign = -1 if lower_is_better(metric_name) else 1
    scores = [one for one in scores if math.isfinite(one.mean)]
    if not scores:
        raise Invalid(f"No candidate could be measured by '{metric_name}' on these folds.")
    best = max(scores, key=lambda one: sign * one.mean)
    return next(one for one in scores if sign * one.mean >= sign * best.mean - best.standard_error)


def splits(
    rows: Rows, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and to judge on, fold by fold.

    Args:
        rows: The rows.
        folds: Number of folds.
        seed: Seed of their order.

    Raises:
        Invalid: A class has fewer rows than there are folds, or groups are too few.
    """
    _refuse_few(rows, folds)
    shuffled = {"n_splits": folds, "shuffle": True, "random_state": seed}
    if rows.in_time:
        splitter: Any = TimeSeriesSplit(folds)
    elif rows.groups is not None:
        splitter = StratifiedGroupKFold(**shuffled) if rows.classes else GroupKFold(folds)
    else:
        splitter = StratifiedKFold(**shuffled) if rows.classes else KFold(**shuffled)
    groups = None if rows.in_time else rows.groups
    for learnt, judged in splitter.split(rows.table, rows.truth, groups):
        if rows.in_time and rows.groups is not None:  # a group that is judged teaches nothing
            learnt = learnt[~np.isin(rows.groups[learnt], rows.groups[judged])]
        if len(learnt):
            yield learnt, judged


def _refuse_few(rows: Rows, folds: int) -> None:
    if len(rows.truth) <= folds:
        raise Invalid(f"There are {len(rows.truth)} rows, too few for {folds} folds.")
    if rows.groups is not None and len(set(rows.groups.tolist())) < folds:
        raise Invalid(f"There are fewer groups than the {folds} folds. Take fewer folds.")
    if rows.classes and not rows.in_time:
        counts = np.bincount(rows.truth.astype(np.int64), minlength=len(rows.classes))
        if counts.min() < folds:
            name = rows.classes[int(counts.argmin())]
            raise Invalid(
                f"Class '{name}' has {int(counts.min())} rows to learn from, fewer than the "
                f"{folds} folds. Take fewer folds, or leave the class out."
            )


def _part(rows: Rows, numbers: NDArray[np.int64]) -> Rows:
    groups = None if rows.groups is None else rows.groups[numbers]
    return rows._replace(table=rows.table.iloc[numbers], truth=rows.truth[numbers], groups=groups)


def _best(
    parallel: Any, candidate: Candidate, rows: Rows, plan: Plan, grid: list[dict[str, Any]]
) -> dict[str, Any]:
    """The values that do best on inner folds."""
    try:
        folds = list(splits(rows, INNER_FOLDS, plan.seed))
    except Invalid:  # too few rows of a class to choose by
        return grid[0]
    asked = (
        delayed(_tried)(candidate, rows, learnt, judged, plan, values)
        for values in grid
        for learnt, judged in folds
    )
    found = np.array(parallel(asked)).reshape(len(grid), len(folds))
    means = found.mean(axis=1) * (-1 if lower_is_better(plan.metric) else 1)
    return grid[int(np.nanargmax(means)) if np.isfinite(means).any() else 0]


def _tried(*asked: Any) -> float:
    """The score of a fit; not a number where these rows allow none."""
    try:
        return _fitted(*asked).score
    except Exception:  # such as one class alone among the first rows in time
        return math.nan


def _fitted(
    candidate: Candidate,
    rows: Rows,
    learnt: NDArray[np.int64],
    judged: NDArray[np.int64],
    plan: Plan,
    values: dict[str, Any],
) -> _Fitted:
    """Fit on some rows and measure on others."""
    estimator = candidate.make(rows.columns, plan.seed).set_params(**values)
    begun = time.perf_counter()
    estimator.fit(rows.table.iloc[learnt], rows.truth[learnt])
    seconds = time.perf_counter() - begun
    inputs = rows.table.iloc[judged]
    score = metric(plan.metric)(rows.truth[judged], _scores(estimator, inputs, rows.classes))
    some = inputs.iloc[:_TIMED_ROWS]
    begun = time.perf_counter()
    estimator.predict(some)
    return _Fitted(float(score), seconds, (time.perf_counter() - begun) / len(some))


def _scores(estimator: Any, inputs: Any, classes: list[str]) -> NDArray[Any]:
    """Predicted numbers, probabilities of the second of two classes, or of each class."""
    if not classes:
        return np.asarray(estimator.predict(inputs), dtype=np.float64)
    found = np.zeros((len(inputs), len(classes)))
    found[:, np.asarray(estimator.classes_, dtype=np.int64)] = estimator.predict_proba(inputs)
    return found[:, 1] if len(classes) == 2 else found
