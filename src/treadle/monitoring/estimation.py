"""``treadle.estimate_performance``: a model's performance on tables, before labels come."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from treadle.kernel.errors import Invalid
from treadle.monitoring.confidence_based import Answers, ConfidenceBased
from treadle.monitoring.direct_loss import LOSSES, DirectLoss, Predictions
from treadle.monitoring.estimates import (
    ASSUMPTIONS,
    CONFIDENCE_BASED,
    DIRECT_LOSS,
    ChunkEstimate,
    Measured,
    MetricEstimate,
    PerformanceEstimate,
)
from treadle.monitoring.table_columns import class_places, column, names_of, numbers, times
from treadle.stats.control_limits import Limits, deviation_limits, prediction_limits
from treadle.stats.expected import check_expected
from treadle.stats.metrics import Array, predicted_class

CHUNKS = 10
"""How many chunks the current rows are cut into, unless it is said."""
MIN_REFERENCE = 20
OF_CLASSIFIERS = ("roc_auc", "accuracy", "precision", "recall", "f1")
OF_REGRESSORS = ("mae", "rmse")


class _Table(NamedTuple):
    """A table's rows in order of time."""

    rows: Any
    times: Array | None


class _Bounds(NamedTuple):
    """What a metric's estimates are held against."""

    prediction: Limits | None
    three_sigma: Limits | None


def estimate_performance(
    reference: Any,
    current: Any,
    *,
    target: str,
    prediction: str | None = None,
    score: str | Mapping[str, str] | None = None,
    features: Sequence[str] | None = None,
    timestamp: str | None = None,
    chunk_size: int | None = None,
    chunks: int | None = None,
    metrics: Sequence[str] | None = None,
    positive: object = None,
) -> PerformanceEstimate:
    """Estimate how well a model does on rows whose truth is not known yet.

    Classifiers (``score``) are estimated by their calibrated confidence (CBPE), regressors
    (``prediction`` alone) by models of their loss (DLE, which takes scikit-learn: the extra
    ``train``). Both assume that the relation of inputs and truth has not changed. Labels that the
    current rows have correct the estimate: it then also holds where that has changed, if the
    labelled rows are a random sample.

    Args:
        reference: Rows of known truth that the model has not learnt from, such as its test set: a
            frame of pandas or Polars, an Arrow table, or a dict of arrays.
        current: Rows to estimate, with the same columns; ``target`` may be missing, in part or
            altogether.
        target: The column with the truth.
        prediction: The column with the predicted class or number; of a classifier the likeliest
            class if omitted (of two, 1 from a score of 0.5 on).
        score: The column with the probability of class 1, or the name of each class → the column
            with its probability; None for a regressor.
        features: The columns that a regressor's loss may depend on, beside the prediction; all but
            the target and the time if omitted.
        timestamp: The column with each row's time, which orders the rows.
        chunk_size: Rows of a chunk, of the reference as well.
        chunks: In how many chunks the current rows are cut, instead; 10 by default.
        metrics: Names of metrics, such as ``roc_auc`` or ``rmse``.
        positive: Which value of ``target`` and ``prediction`` is 1, where they hold words.

    Returns:
        Each metric in each chunk, with its interval, its limits, and what labels say of it.

    Raises:
        Invalid: A column is missing or holds what it may not; a metric cannot be estimated; there
            are too few rows; or scikit-learn is missing, of a regressor.
    """
    given = _Given(target, prediction, score, features, timestamp, positive)
    before, now = given.read(reference, known=True), given.read(current, known=False)
    size = _size(len(now.rows), chunk_size, chunks)
    names = list(metrics or (OF_REGRESSORS if score is None else OF_CLASSIFIERS))
    _check(names, score)
    estimator = DirectLoss(before.rows) if score is None else ConfidenceBased(before.rows)
    method = DIRECT_LOSS if score is None else CONFIDENCE_BASED
    parts = [rows for rows in _cut(len(before.rows), size) if len(rows) == size]
    values = estimator.reference_values(names, parts) if parts else {}
    bounds = {name: _bounds(values.get(name)) for name in names}
    return PerformanceEstimate(
        method=method,
        assumes=ASSUMPTIONS[method],
        reference_rows=len(before.rows),
        reference={name: realised.tolist() for name, (realised, _) in values.items()},
        chunks=[_chunk(estimator, names, bounds, now, part) for part in _cut(len(now.rows), size)],
    )


class _Given(NamedTuple):
    """Which columns are what."""

    target: str
    prediction: str | None
    score: str | Mapping[str, str] | None
    features: Sequence[str] | None
    timestamp: str | None
    positive: object

    def read(self, table: Any, *, known: bool) -> _Table:
        """A table's rows; of the reference those alone that can be learnt from."""
        rows = self._predictions(table) if self.score is None else self._answers(table)
        moments = None if self.timestamp is None else times(table, self.timestamp)
        order = np.arange(len(rows)) if moments is None else np.argsort(moments, kind="stable")
        if known:
            order = order[(np.isfinite(rows.truth) & rows.usable)[order]]
            if self.positive is not None and not (rows.truth == 1).any():
                raise Invalid(
                    f"'{self.positive}' is given as positive, and '{self.target}' has no such "
                    "value in the reference."
                )
            if len(order) < MIN_REFERENCE:
                raise Invalid(
                    f"The reference has {len(order)} rows with a truth and a prediction; "
                    f"{MIN_REFERENCE} are the least."
                )
        return _Table(rows.part(order), None if moments is None else moments[order])

    def _answers(self, table: Any) -> Answers:
        several = not isinstance(self.score, str)
        classes = list(self.score) if isinstance(self.score, Mapping) else ["0", "1"]
        scores = _probabilities(table, self.score)
        truth = self._truth(table, len(scores))
        places = class_places(truth, self.target, classes, self.positive)
        if self.prediction is None:
            best = predicted_class(np.nan_to_num(scores)).astype(np.float64)
            lost = np.isnan(scores).any(axis=1) if several else np.isnan(scores)
            predicted = np.where(lost, np.nan, best)
        else:
            told = column(table, self.prediction, "prediction")
            predicted = class_places(told, self.prediction, classes, self.positive)
        return Answers(places, scores, predicted)

    def _predictions(self, table: Any) -> Predictions:
        if self.prediction is None:
            raise Invalid(
                "Name the column with the classifier's probability as score=..., "
                "or the one with the regressor's number as prediction=...."
            )
        predicted = numbers(table, self.prediction, "prediction")
        left_out = {self.target, self.timestamp, self.prediction}
        names = self.features or [name for name in names_of(table) if name not in left_out]
        inputs = {name: column(table, name, "a feature") for name in names}
        truth = self._truth(table, len(predicted))
        if truth.dtype == object:
            truth = numbers(table, self.target, "target")
        return Predictions(truth, predicted, inputs)

    def _truth(self, table: Any, rows: int) -> Array:
        """The target, NaN where the table does not have it."""
        if self.target in names_of(table):
            return column(table, self.target, "target")
        return np.full(rows, np.nan)


def _probabilities(table: Any, score: str | Mapping[str, str] | None) -> Array:
    if isinstance(score, str):
        return _from_0_to_1(table, score)
    assert score is not None
    if len(score) < 3:
        raise Invalid("Of two classes, give the one column with the probability of class 1.")
    return np.stack([_from_0_to_1(table, name) for name in score.values()], axis=1)


def _from_0_to_1(table: Any, name: str) -> Array:
    values = numbers(table, name, "score")
    beyond = values[(values < 0) | (values > 1)]
    if len(beyond):
        raise Invalid(
            f"The column '{name}', given as score, holds {beyond[0]:g}, which is no probability. "
            "Scores are from 0 to 1."
        )
    return values


def _check(names: Sequence[str], score: str | Mapping[str, str] | None) -> None:
    if score is not None:
        for name in names:
            check_expected(name, 2 if isinstance(score, str) else len(score))
        return
    unknown = [name for name in names if name not in LOSSES]
    if unknown:
        raise Invalid(
            f"'{unknown[0]}' cannot be estimated of a regressor. Use {', '.join(LOSSES)}; of a "
            "classifier, name the column with its probability as score=...."
        )


def _size(rows: int, chunk_size: int | None, chunks: int | None) -> int:
    if chunk_size is not None and chunks is not None:
        raise Invalid("Give chunk_size or chunks, not both.")
    if not rows:
        raise Invalid("The current table has no rows, so there is nothing to estimate.")
    size = chunk_size if chunk_size is not None else -(-rows // (chunks or CHUNKS))
    if size < 1 or (chunks is not None and chunks < 1):
        raise Invalid("A chunk has one row at least.")
    return size


def _cut(rows: int, size: int) -> list[Array]:
    """Positions of rows in chunks; the last may have fewer."""
    return [np.arange(first, min(first + size, rows)) for first in range(0, rows, size)]


def _bounds(values: tuple[Array, Array] | None) -> _Bounds:
    if values is None:
        return _Bounds(None, None)
    realised, unseen = (each[np.isfinite(each)] for each in values)
    return _Bounds(
        prediction_limits(unseen), deviation_limits(realised) if len(realised) > 1 else None
    )


def _chunk(
    estimator: ConfidenceBased | DirectLoss,
    names: Sequence[str],
    bounds: Mapping[str, _Bounds],
    now: _Table,
    part: Array,
) -> ChunkEstimate:
    rows = now.rows.part(part)
    usable = rows.usable
    measured = estimator.measured(names, rows.part(usable))
    at = None if now.times is None else [str(now.times[part[end]]) for end in (0, -1)]
    return ChunkEstimate(
        first=int(part[0]),
        rows=len(part),
        usable=int(usable.sum()),
        start=at[0] if at else None,
        end=at[1] if at else None,
        metrics=[_held(name, measured[name], bounds[name]) for name in names],
    )


def _held(name: str, measured: Measured, bounds: _Bounds) -> MetricEstimate:
    """A metric held against its limits."""
    value, low, high = map(_number, measured.estimate)
    right = measured.corrected
    limits, sigma = bounds
    return MetricEstimate(
        metric=name,
        value=value,
        low=low,
        high=high,
        limit_low=limits and limits.low,
        limit_high=limits and limits.high,
        outside=_outside(value, limits),
        three_sigma_low=sigma and sigma.low,
        three_sigma_high=sigma and sigma.high,
        outside_three_sigma=_outside(value, sigma),
        realised=measured.realised,
        labels=measured.labels,
        corrected=right and right.value,
        corrected_low=right and right.low,
        corrected_high=right and right.high,
    )


def _outside(value: float | None, limits: Limits | None) -> bool:
    return value is not None and limits is not None and not limits.low <= value <= limits.high


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
