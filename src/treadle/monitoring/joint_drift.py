"""Compares two tables as a whole: changes of how columns depend on each other, and embeddings.

Column by column nothing may have moved while the rows are others: two columns that went together
go apart. Three tests look at all columns at once. Each is valid at every size, because the rows are
encoded by what both tables hold together, and what is fitted is tried on rows that it has not seen.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.columns import Source
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import visible
from treadle.stats.joint import mean_discrepancy, principal_axes, rank_sum

Matrix = NDArray[np.float64]
ROWS, KERNEL_ROWS = 10_000, 2_000
"""Rows of each table that are looked at, and of them by the kernel; drawn at random, seed 0."""
LEAST_ROWS = 40
COLUMNS = 64
"""More columns than this (embeddings) are projected on as many principal components first."""
PERMUTATIONS = 999
KEPT_VARIANCE = 0.65
EFFECT = 0.55
"""The smallest AUC of the domain classifier that counts as drift; 0.5 is chance."""


class JointDrift(Entity):
    """What was found in all columns of two tables together.

    Attributes:
        drifted: Whether there is evidence of a change, and the domain classifier can tell the
            tables apart by more than a little.
        p: P-value that the rows are alike: of three tests, by Bonferroni.
        auc: The domain classifier's AUC: how well it tells the tables apart; 0.5 is chance.
        statistics: ``domain_classifier`` (AUC of a classifier that tells the two tables apart on
            rows it has not seen; 0.5 is chance), ``pca_reconstruction`` (mean error of the current
            rows over that of the reference, by components that hold 65 % of its variance) and
            ``mmd`` (squared maximum mean discrepancy).
        p_values: The p-value of each.
        columns: By how much the classifier's AUC falls when a column is shuffled, the largest
            first, five at most; empty where columns were projected.
        rows: Places of the current rows that are least like the reference, ten at most.
        compared: How many rows of the reference and of the current table were looked at.
    """

    drifted: bool
    p: float
    auc: float
    statistics: dict[str, float]
    p_values: dict[str, float]
    columns: dict[str, float]
    rows: list[int]
    compared: tuple[int, int]

    def summary(self) -> str:
        """Return the finding in a sentence."""
        found = "drifted" if self.drifted else "did not drift"
        first = visible(next(iter(self.columns), "")).replace("\n", "\\n")
        by = f", most by {first}" if self.drifted and first else ""
        return (
            f"All columns together {found}: a classifier tells the tables apart with an AUC of "
            f"{self.auc:.3f} (p {self.p:.2g}){by}."
        )


def joint_drift(
    first: Source, second: Source, names: Sequence[str], *, false_alarms: float
) -> JointDrift:
    """Test whether the rows of two tables are alike as a whole.

    Args:
        first: The reference.
        second: The current table.
        names: The columns that both have.
        false_alarms: The probability of a false alarm.

    Raises:
        Invalid: A table has too few rows, or scikit-learn is missing.
    """
    random = np.random.default_rng(0)
    drawn = [_drawn(one, what, random) for one, what in ((first, "reference"), (second, "current"))]
    rows = _encoded(first, second, names, drawn)
    before, now = rows[: len(drawn[0])], rows[len(drawn[0]) :]
    told = _told_apart(before, now, names if rows.shape[1] == len(names) else ())
    half = len(before) // 2
    axes = principal_axes(before[:half], share=KEPT_VARIANCE)
    errors = axes.errors(before[half:]), axes.errors(now)
    few = [one[random.permutation(len(one))[:KERNEL_ROWS]] for one in (before, now)]
    mmd, mmd_p = mean_discrepancy(*few, permutations=PERMUTATIONS, random=random)
    p_values = {
        "domain_classifier": told.p,
        "pca_reconstruction": rank_sum(*errors).p,
        "mmd": mmd_p,
    }
    p = min(1.0, len(p_values) * min(p_values.values()))
    expected = float(errors[0].mean()) or 1.0
    return JointDrift(
        drifted=p <= false_alarms and told.auc >= EFFECT,
        p=p,
        auc=told.auc,
        statistics={
            "domain_classifier": told.auc,
            "pca_reconstruction": float(errors[1].mean()) / expected,
            "mmd": mmd,
        },
        p_values=p_values,
        columns=told.columns,
        rows=[int(drawn[1][place]) for place in told.order[:10]],
        compared=(len(before), len(now)),
    )


class _Told(NamedTuple):
    """How well a classifier tells the tables apart, and by what.

    Attributes:
        auc: Its AUC on rows that it has not seen.
        p: P-value that it cannot.
        columns: By how much the AUC falls without a column.
        order: Places of the current rows, the least alike first.
    """

    auc: float
    p: float
    columns: dict[str, float]
    order: list[int]


def _drawn(source: Source, what: str, random: np.random.Generator) -> NDArray[np.int64]:
    if source.rows < LEAST_ROWS:
        raise Invalid(
            f"The {what} has {source.rows} rows; comparing tables as a whole takes {LEAST_ROWS}. "
            "Compare them column by column, without 'joint'."
        )
    if source.rows <= ROWS:
        return np.arange(source.rows)
    return np.sort(random.choice(source.rows, ROWS, replace=False))


def _encoded(
    first: Source, second: Source, names: Sequence[str], drawn: Sequence[NDArray[np.int64]]
) -> Matrix:
    """Both tables' rows as numbers (rows, columns), standardised; by what both hold together."""
    columns = []
    for name in names:
        sides = [
            _plain(one.values(one.names.index(name), places))
            for one, places in zip((first, second), drawn, strict=True)
        ]
        columns.append(_numbers(*sides))
    rows = np.stack(columns, axis=1)
    if rows.shape[1] > COLUMNS:
        rows = principal_axes(rows, most=COLUMNS).coordinates(rows)
    return rows


def _numbers(first: NDArray[Any], second: NDArray[Any]) -> Matrix:
    """A column as numbers of mean 0: a category is how frequent it is, a missing value the mean."""
    if object in (first.dtype, second.dtype):
        values = [*first.tolist(), *second.tolist()]
        counts = Counter(values)
        # by both tables' counts and the text, so that it says nothing of where a value came from
        frequent = sorted(counts, key=lambda value: (-counts[value], str(value)))
        ranks = {value: float(rank) for rank, value in enumerate(frequent)}
        column = np.array([ranks[value] for value in values])
    else:
        column = np.concatenate([first, second])
        column[~np.isfinite(column)] = np.nan
        known = ~np.isnan(column)
        column = np.where(known, column, column[known].mean() if known.any() else 0.0)
    column = column - column.mean()
    spread = column.std()
    return np.asarray(column / spread if spread > 0 else column)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Texts as they are; a column without any value as missing numbers."""
    if values.dtype == object and all(value is None for value in values):
        return np.full(len(values), np.nan)
    return values


def _told_apart(before: Matrix, now: Matrix, names: Sequence[str]) -> _Told:
    """Fit a classifier on each half of the rows, and try it on the other."""
    halves = [
        (np.arange(len(before)) % 2 == half, np.arange(len(now)) % 2 == half) for half in (0, 1)
    ]
    scores = np.zeros(len(now))
    aucs, ps = [], []
    falls = np.zeros(len(names))
    for (fit_before, fit_now), (try_before, try_now) in (halves, halves[::-1]):
        score = _classifier(before[fit_before], now[fit_now])
        one, other = score(before[try_before]), score(now[try_now])
        scores[try_now] = other
        found = rank_sum(one, other)
        aucs.append(found.auc)
        ps.append(found.p_above)
        random = np.random.default_rng(0)
        for place in range(len(names)):
            mixed = np.concatenate([before[try_before], now[try_now]])
            mixed[:, place] = random.permutation(mixed[:, place])
            without = score(mixed)
            falls[place] += (found.auc - rank_sum(without[: len(one)], without[len(one) :]).auc) / 2
    order = np.argsort(-falls, kind="stable")[:5]
    columns = {names[place]: float(falls[place]) for place in order if falls[place] > 0}
    p = min(1.0, 2 * min(ps))
    return _Told(float(np.mean(aucs)), p, columns, np.argsort(-scores, kind="stable").tolist())


def _classifier(before: Matrix, now: Matrix) -> Any:
    """Fit gradient-boosted trees that tell the tables apart; they score rows, higher is current."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise Invalid(
            "Comparing tables as a whole takes scikit-learn. "
            "Install it with: pip install 'treadle[train]'"
        ) from None
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    truth = np.repeat([0, 1], [len(before), len(now)])
    with threadpool_limits(1):
        trees.fit(np.concatenate([before, now]), truth)

    def score(rows: Matrix) -> Matrix:
        with threadpool_limits(1):
            return np.asarray(trees.predict_proba(rows)[:, 1])

    return score
