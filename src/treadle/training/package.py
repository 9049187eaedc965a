"""A model folder: a graph (ONNX wherever it can be), its signature, and the profile of what it was trained on. No pickle."""

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
from treadle.ports.runtime import SIGNATURE, Columns, Exporter, Runtime, open_model

PARITY_TOLERANCE = 1e-3
PARITY_ROWS = 512
PROFILE_ROWS = 20_000  # of a larger training table, every k-th row is profiled


class Model(Packaged):
    """A trained estimator with the rows it was trained on, ready to be packaged.

    ``estimator`` is a fitted scikit-learn estimator or pipeline (LightGBM's and XGBoost's among them), or a PyTorch or Keras
    module that takes the columns side by side (rows, columns); ``inputs`` the frame of input columns it was fitted on.
    ``classes`` names what a module's outputs are probabilities of; scikit-learn's classifiers know that themselves.
    Packaging converts it to ONNX and compares both on real rows; it refuses when they differ by more than ``tolerance``
    (on the output; relative to its largest size where that is above 1).
    """

    def __init__(
        self,
        estimator: Any,
        inputs: Any,
        *,
        classes: Sequence[str] = (),
        tolerance: float = PARITY_TOLERANCE,
    ) -> None:
        self.estimator, self.inputs, self.classes, self.tolerance = (
            estimator,
            inputs,
            list(classes),
            tolerance,
        )

    def save(self, folder: Path, exporter: Exporter, runtime: Runtime) -> None:
        signature = exporter.describe(self.estimator, self.inputs)
        if self.classes:
            output = "probability" if len(self.classes) == 2 else "probabilities"
            signature = replace(signature, classes=self.classes, output=output)
        for field in signature.inputs:
            if not field.name.isprintable() or set(field.name) & set('"\\'):
                raise Invalid(
                    f"The column name {field.name!r} cannot be served as JSON. Rename the column."
                )
        content, signature = exporter.export(self.estimator, signature)
        (folder / signature.file).write_bytes(content)
        (folder / SIGNATURE).write_bytes(to_json(signature))
        sample = self.inputs[:: max(1, len(self.inputs) // PROFILE_ROWS)]
        table = {field.name: plain(sample[field.name]) for field in signature.inputs}
        predictions = runtime.load(folder / signature.file, signature).predict(
            Columns.of(signature.inputs, table)
        )
        rows = sample[:PARITY_ROWS]
        parity = self._parity(exporter.answer(self.estimator, signature, rows), predictions)
        write_reference(folder, table, predictions, parity)

    def _parity(self, original: NDArray[Any], packaged: NDArray[np.float32]) -> float:
        if original.shape[1:] != packaged.shape[1:]:
            raise Invalid(
                f"The packaged model gives {list(packaged.shape[1:])} numbers for a row, the trained one "
                f"{list(original.shape[1:])}. Nothing was packaged."
            )
        worst = (
            float(np.max(np.abs(original - packaged[: len(original)]))) if len(original) else 0.0
        )
        scale = max(1.0, float(np.max(np.abs(original)))) if len(original) else 1.0
        if not worst <= self.tolerance * scale:
            raise Invalid(
                f"The packaged model differs from the trained one by {worst:.2g} on {len(original)} training rows, more "
                f"than the tolerance of {self.tolerance * scale:g}. Nothing was packaged."
            )
        return worst


def write_reference(
    folder: Path, table: dict[str, NDArray[Any]], predictions: NDArray[np.float32], parity: float
) -> None:
    """Keep in a model folder what rows looked like and what the model said of them."""
    reference = Reference(
        rows=len(predictions),
        columns={name: reference_profile(values) for name, values in table.items()},
        prediction=reference_profile(score(predictions).astype(np.float64)),
        parity=parity,
    )
    (folder / REFERENCE).write_bytes(to_json(reference))


class Package:
    """A model folder opened for prediction."""

    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self.signature, self._model = open_model(folder, runtime)
        self.reference = from_json((folder / REFERENCE).read_bytes(), Reference)

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        return self._model.predict(columns)

    def predict_table(self, table: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Scores (rows,) for a table of plain columns; NaN for the rows on which the model fails."""
        columns = Columns.of(self.signature.inputs, table)
        return self._scores(columns) if columns.rows else np.empty(0)

    def _scores(self, columns: Columns) -> NDArray[np.float64]:
        try:
            return score(self.predict(columns)).astype(np.float64)
        except Exception:
            if columns.rows == 1:
                return np.array([np.nan])
            half = columns.rows // 2  # the rows that fail are found by halving
            return np.concatenate(
                [self._scores(columns.part(part)) for part in (slice(half), slice(half, None))]
            )


def score(predictions: NDArray[Any]) -> NDArray[Any]:
    """One number per row: the prediction itself, or the highest class probability of several."""
    return predictions if predictions.ndim == 1 else predictions.max(axis=1)
