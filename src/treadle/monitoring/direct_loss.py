"""Direct loss estimation (DLE) of regressors: a model of the model's loss.

For each loss a gradient-boosted model learns from the reference how far the regressor is off, by
its inputs and its prediction; the mean of what it says of unlabelled rows is the estimate
(NannyML's DLE). The metric that is a root is the root of the mean loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from treadle.kernel.errors import Invalid
from treadle.monitoring.estimates import Measured
from treadle.stats.expected_intervals import MIN_LABELS, bounded
from treadle.stats.intervals import Estimate
from treadle.stats.metrics import Array
from treadle.stats.student import t_quantile

LOSSES = ("mae", "mse", "rmse", "mape", "rmsle")
"""The metrics that can be estimated."""
FOLDS = 5
MOST_CATEGORIES = 250
_Z = 1.959963984540054


class Predictions:
    """A regressor's answers, with what it was asked.

    Args:
        truth: What turned out to be true (rows,); NaN where it is not known.
        predicted: What was predicted (rows,); NaN where missing.
        inputs: Input column → values (rows,): float64 with NaN, or objects with None.
    """

    def __init__(self, truth: Array, predicted: Array, inputs: Mapping[str, Array]) -> None:
        self.truth, self.predicted, self.inputs = truth, predicted, inputs

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.truth)

    @property
    def usable(self) -> Array:
        """Which rows (rows,) have a prediction."""
        return np.asarray(np.isfinite(self.predicted))

    def part(self, rows: Array) -> "Predictions":
        """Some of the rows.

        Args:
            rows: Positions of rows, or which of them.
        """
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return Predictions(self.truth[rows], self.predicted[rows], inputs)


class DirectLoss:
    """Estimates metrics of a regressor's answers from a reference of known truth.

    Args:
        reference: Rows of known truth that the model has not learnt from, all usable.
    """

    def __init__(self, reference: Predictions) -> None:
        self._reference = reference
        self._encoding = _Encoding(reference.inputs)
        self._table = self._encoding.table(reference)
        self._models: dict[str, _LossModel] = {}
        self._residuals: dict[str, Array] = {}

    def measured(self, names: Sequence[str], rows: Predictions) -> dict[str, Measured]:
        """Estimate metrics of some rows; labels that are there are used beside.

        Args:
            names: Names of the metrics.
            rows: Usable rows.
        """
        return {name: self._one(name, rows) for name in names}

    def reference_values(
        self, names: Sequence[str], chunks: Sequence[Array]
    ) -> dict[str, tuple[Array, Array]]:
        """Each metric in each chunk of the reference: realised, and estimated without its labels.

        Args:
            names: Names of the metrics.
            chunks: Positions of the rows of each chunk.
        """
        values = {}
        for name in names:
            losses = loss(name, self._reference.truth, self._reference.predicted)
            unseen = np.full(len(losses), np.nan)
            for fold in np.array_split(np.arange(len(chunks)), min(len(chunks), FOLDS)):
                out = np.zeros(len(losses), dtype=bool)
                out[np.concatenate([chunks[place] for place in fold])] = True
                if not out.all():
                    unseen[out] = self._fitted(losses, ~out).predict(self._table[out])
            pairs = [(losses[rows].mean(), unseen[rows].mean()) for rows in chunks]
            realised, expected = np.array(pairs).T
            values[name] = _metric(name, realised), _metric(name, expected)
        return values

    def _one(self, name: str, rows: Predictions) -> Measured:
        labelled = np.flatnonzero(np.isfinite(rows.truth))
        known = loss(name, rows.truth[labelled], rows.predicted[labelled])
        realised = float(_metric(name, np.mean(known))) if len(known) else None
        if not len(rows):
            nothing = Estimate(float("nan"), float("nan"), float("nan"))
            return Measured(nothing, realised, len(known), None)
        said = np.maximum(self._model(name).predict(self._encoding.table(rows)), 0)
        scale = 1 + len(rows) / len(self._reference)
        variance = (np.var(said) + np.mean(self._unexplained(name) ** 2)) / len(rows) * scale
        estimate = _interval(name, float(said.mean()), float(variance) ** 0.5 * _Z)
        right = _corrected(name, said, labelled, known)
        return Measured(estimate, realised, len(known), right)

    def _model(self, name: str) -> "_LossModel":
        """The model of a loss, on the whole reference."""
        name = _loss_of(name)
        if name not in self._models:
            losses = loss(name, self._reference.truth, self._reference.predicted)
            self._models[name] = self._fitted(losses, np.ones(len(losses), dtype=bool))
        return self._models[name]

    def _unexplained(self, name: str) -> Array:
        """How far the loss of each row of the reference is from what a model of others says."""
        name = _loss_of(name)
        if name not in self._residuals:
            losses = loss(name, self._reference.truth, self._reference.predicted)
            half = np.arange(len(losses)) % 2 == 0
            left = losses[half] - self._fitted(losses, ~half).predict(self._table[half])
            self._residuals[name] = left
        return self._residuals[name]

    def _fitted(self, losses: Array, rows: Array) -> "_LossModel":
        return _LossModel(self._encoding.categorical, self._table[rows], losses[rows])


class _LossModel:
    """Gradient-boosted trees (scikit-learn's) that say how large a loss is.

    They are grown and asked by one thread: on a machine that others use too, threads that wait for
    each other take many times as long.
    """

    def __init__(self, categorical: list[int], table: Array, losses: Array) -> None:
        try:
            from sklearn.ensemble import HistGradientBoostingRegressor
            from threadpoolctl import threadpool_limits
        except ImportError:
            raise Invalid(
                "Estimating a regressor's performance takes scikit-learn. "
                "Install it with: pip install 'treadle[train]'"
            ) from None
        self._one_thread = threadpool_limits
        trees = HistGradientBoostingRegressor(categorical_features=categorical, random_state=0)
        with self._one_thread(1):
            self._trees = trees.fit(table, losses)

    def predict(self, table: Array) -> Array:
        """The loss that is to be expected of each row (rows,).

        Args:
            table: Encoded inputs and predictions (rows, columns).
        """
        with self._one_thread(1):
            return np.asarray(self._trees.predict(table))


class _Encoding:
    """Numbers for texts, as they are in the reference; what is new or missing is NaN."""

    def __init__(self, inputs: Mapping[str, Array]) -> None:
        self._names = list(inputs)
        self._codes = {name: _codes(v) for name, v in inputs.items() if v.dtype == object}

    @property
    def categorical(self) -> list[int]:
        """Places of the columns that are codes."""
        return [place for place, name in enumerate(self._names) if name in self._codes]

    def table(self, rows: Predictions) -> Array:
        """The inputs and the prediction (rows, columns)."""
        columns = [self._column(name, rows.inputs[name]) for name in self._names]
        return np.stack([*columns, rows.predicted], axis=1)

    def _column(self, name: str, values: Array) -> Array:
        if name not in self._codes:
            return values if values.dtype != object else np.full(len(values), np.nan)
        codes = self._codes[name]
        return np.array([codes.get(value, np.nan) for value in values.tolist()], dtype=float)


def loss(metric: str, truth: Array, predicted: Array) -> Array:
    """The loss of each row whose mean a metric is, or the root of its mean.

    Args:
        metric: The metric's name, one of ``LOSSES``.
        truth: Truths (rows,).
        predicted: Predictions (rows,).

    Raises:
        Invalid: ``mape`` of a truth of 0, or ``rmsle`` of a number below 0.
    """
    if metric == "mape":
        if (truth == 0).any():
            raise Invalid("'mape' is not defined: a truth is 0. Use mae or rmse.")
        return np.asarray(np.abs(truth - predicted) / np.abs(truth))
    if metric == "rmsle":
        if (truth < 0).any() or (predicted < 0).any():
            raise Invalid("'rmsle' is not defined: a number is below 0. Use mae or rmse.")
        return np.asarray((np.log1p(truth) - np.log1p(predicted)) ** 2)
    error = truth - predicted
    return np.asarray(np.abs(error) if metric == "mae" else error**2)


def _loss_of(name: str) -> str:
    """The metric that has the same loss of a row, so that one model is enough."""
    return "mse" if name == "rmse" else name


def _metric(name: str, mean_loss: Any) -> Any:
    return np.sqrt(np.maximum(mean_loss, 0)) if name in ("rmse", "rmsle") else mean_loss


def _interval(name: str, mean: float, half: float) -> Estimate:
    """The interval of a mean loss as the metric's."""
    return Estimate(*(float(_metric(name, each)) for each in bounded("mse", mean, half)))


def _corrected(name: str, said: Array, labelled: Array, known: Array) -> Estimate | None:
    """The mean loss over all rows, corrected by the mean gap on the labelled ones."""
    if len(labelled) < MIN_LABELS:
        return None
    gap = known - said[labelled]
    variance = np.var(gap, ddof=1) / len(gap) + np.var(said) / len(said)
    half = t_quantile(0.975, len(gap) - 1) * float(variance) ** 0.5
    return _interval(name, float(said.mean() + gap.mean()), half)


def _codes(values: Array) -> dict[str, float]:
    names, counts = np.unique(values[values != np.array(None)].astype(str), return_counts=True)
    frequent = names[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
    return {str(name): float(code) for code, name in enumerate(sorted(frequent))}
