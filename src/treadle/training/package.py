"""Writes and opens model folders: a model, its signature, and a profile of its training data.

The model is an ONNX graph wherever it can be, and a pickle only where nothing else works.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.data.profile import REFERENCE, Reference, reference_profile
from treadle.kernel.entity import from_json, replace, to_json
from treadle.kernel.errors import Invalid
from treadle.pipelines.output import Packaged
from treadle.ports.runtime import SIGNATURE, Columns, Exporter, Runtime, Signature, open_model
from treadle.training.ways import Attempt, package_first

PARITY_TOLERANCE = 1e-3
PARITY_ROWS = 2_000
PROFILE_ROWS = 20_000
"""Number of rows that are profiled; of a larger training table, every k-th row."""


class Model(Packaged):
    """A trained estimator with the rows it was trained on, ready to be packaged.

    Packaging takes the first way whose answers on real rows are the estimator's: an ONNX graph
    wherever it can be.

    Args:
        estimator: Fitted scikit-learn estimator or pipeline (also of LightGBM or XGBoost), a
            PyTorch or Keras module that takes the columns side by side, as (rows, columns), or a
            function that takes a frame and gives a number, or several, for each row.
        inputs: Frame of the input columns that the estimator was fitted on.
        classes: Names of the classes whose probabilities a module or a function puts out;
            scikit-learn's classifiers know theirs.
        tolerance: Largest allowed difference between the outputs of both; relative to the largest
            output where that is above 1. One row of a thousand may differ by more.

    Attributes:
        attempts: The ways that packaging has tried, with what was wrong and each one's speed.
    """

    def __init__(
        self,
        estimator: Any,
        inputs: Any,
        *,
        classes: Sequence[str] = (),
        tolerance: float = PARITY_TOLERANCE,
    ) -> None:
        self.estimator = estimator
        self.inputs = inputs
        self.classes = list(classes)
        self.tolerance = tolerance
        self.attempts: list[Attempt] = []

    def save(self, folder: Path, exporter: Exporter, runtime: Runtime) -> None:
        """Write the model into a folder.

        Args:
            folder: An empty folder.
            exporter: Knows the ways to convert the estimator.
            runtime: Loads the converted model, to compare both.

        Raises:
            Invalid: The estimator cannot be converted, the name of a column cannot be served, or
                both models differ by more than the tolerance.
        """
        signature = exporter.describe(self.estimator, self.inputs)
        if self.classes:
            output = "probability" if len(self.classes) == 2 else "probabilities"
            signature = replace(signature, classes=self.classes, output=output)
        for field in signature.inputs:
            if not field.name.isprintable() or set(field.name) & set('"\\'):
                raise Invalid(
                    f"The column name {field.name!r} cannot be served as JSON. Rename the column."
                )
        rows = _spread(self.inputs, PARITY_ROWS)
        packaging = package_first(
            folder,
            exporter.ways(self.estimator, signature),
            runtime,
            lambda described: described.columns(_table(described, rows)),
            np.asarray(exporter.answer(self.estimator, signature, rows)),
            self.tolerance,
        )
        self.attempts = packaging.attempts
        if len(self.attempts) > 1:
            print(
                "ways to package the model:", *self.attempts, sep="\n", file=sys.stderr, flush=True
            )
        signature, sample = packaging.signature, _spread(self.inputs, PROFILE_ROWS)
        (folder / SIGNATURE).write_bytes(to_json(signature))
        table = _table(signature, sample)
        predictions = packaging.model.predict(signature.columns(table))
        write_reference(folder, table, predictions, packaging.parity.largest, signature.classes)


def _spread(frame: Any, count: int) -> Any:
    """Every k-th row of a frame, so that at most twice as many are left as wanted."""
    return frame[:: max(1, len(frame) // count)]


def _table(signature: Signature, frame: Any) -> dict[str, NDArray[Any]]:
    return {field.name: plain(frame[field.name]) for field in signature.inputs}


def write_reference(
    folder: Path,
    table: dict[str, NDArray[Any]],
    predictions: NDArray[np.float32],
    parity: float,
    classes: Sequence[str] = (),
) -> None:
    """Write into a model folder what its training data looked like.

    Args:
        folder: The model folder.
        table: Input columns by name, each of shape (rows,): numbers as float64, text as objects.
        predictions: The model's output for these rows, of shape (rows,) or (rows, classes).
        parity: Largest absolute difference between the outputs of the trained and the packaged
            model.
        classes: Names of the model's classes. Of several, the predicted class is profiled; of
            outputs without names, the highest.
    """
    reference = reference_of(table, predictions, parity, classes)
    (folder / REFERENCE).write_bytes(to_json(reference))


def reference_of(
    table: dict[str, NDArray[Any]],
    predictions: NDArray[Any],
    parity: float,
    classes: Sequence[str] = (),
) -> Reference:
    """Profile what a model was trained on and what it answers to that.

    Args:
        table: Input columns by name, each of shape (rows,): numbers as float64, text as objects.
        predictions: The model's output for these rows, of shape (rows,) or (rows, classes).
        parity: Largest absolute difference between the outputs of the trained and the packaged
            model.
        classes: Names of the model's classes. Of several, the predicted class is profiled; of
            outputs without names, the highest.
    """
    named = predictions.ndim == 2 and len(classes) == predictions.shape[1]
    predicted = predicted_names(predictions, classes) if named else score(predictions)
    return Reference(
        rows=len(predictions),
        columns={name: reference_profile(values) for name, values in table.items()},
        prediction=reference_profile(predicted if named else predicted.astype(np.float64)),
        parity=parity,
    )


class Package:
    """A model folder opened for prediction.

    Args:
        folder: The model folder.
        runtime: Loads the model.

    Attributes:
        signature: What the model takes and gives.
        reference: Profile of the training data.
    """

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.signature, self._model = open_model(folder, runtime)
        self.reference = from_json((folder / REFERENCE).read_bytes(), Reference)

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Predict rows.

        Args:
            columns: Rows as the model takes them.

        Returns:
            Array of shape (rows,) or (rows, classes).
        """
        return self._model.predict(columns)

    def predict_table(self, table: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Score the rows of a table.

        Args:
            table: Columns by name, each of shape (rows,): numbers as float64, text as objects.

        Returns:
            Scores of shape (rows,), or (rows, classes) of a model of several classes; NaN for rows
            on which the model fails.
        """
        columns = self.signature.columns(table)
        return self._scores(columns) if columns.rows else np.empty((0, *self._width))

    @property
    def _width(self) -> tuple[int, ...]:
        """The shape of one row's score."""
        several = self.signature.output == "probabilities"
        return (len(self.signature.classes),) if several else ()

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        try:
            predictions = self.predict(columns)
            scores = predictions if self._width else score(predictions)
            return scores.astype(np.float64)
        except Exception:
            if columns.rows == 1:
                return np.full((1, *self._width), np.nan)
            half = columns.rows // 2  # the rows that fail are found by halving
            halves = (columns.part(slice(half)), columns.part(slice(half, None)))
            return np.concatenate([self._scores(part) for part in halves])


def predicted_names(predictions: NDArray[Any], classes: Sequence[str]) -> NDArray[Any]:
    """The name of each row's likeliest class.

    Args:
        predictions: Array of shape (rows, classes).
        classes: Names of the classes.

    Returns:
        Objects of shape (rows,), each a ``str``; None where a row has a NaN.
    """
    names = np.array([*classes, None], dtype=object)
    failed = np.isnan(predictions).any(axis=1)
    return np.asarray(names[np.where(failed, len(classes), predictions.argmax(axis=1))])


def score(predictions: NDArray[Any]) -> NDArray[Any]:
    """Reduce predictions to one number a row: the prediction itself, or the highest of several.

    Args:
        predictions: Array of shape (rows,) or (rows, classes).

    Returns:
        Array of shape (rows,).
    """
    return predictions if predictions.ndim == 1 else predictions.max(axis=1)
