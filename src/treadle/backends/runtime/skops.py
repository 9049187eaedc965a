"""Runs scikit-learn models that have no ONNX graph, from files of skops.

Such a file holds data and the names of types that are safe to create.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Signature


class SkopsModel:
    """A scikit-learn estimator in memory.

    Args:
        estimator: The estimator.
        signature: Its inputs and output.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator, self._signature = estimator, signature
        self._named = hasattr(estimator, "feature_names_in_")

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the answers as float32 (rows,) or (rows, classes).

        Args:
            columns: The model's inputs.
        """
        rows = frame(columns) if self._named or columns.layout.texts else columns.numbers
        output = self._signature.output
        if output == "score":
            return np.asarray(-self._estimator.decision_function(rows), dtype=np.float32)
        if output in ("value", "values"):
            return np.asarray(self._estimator.predict(rows), dtype=np.float32)
        probabilities = np.asarray(self._estimator.predict_proba(rows), dtype=np.float32)
        if output == "probability":
            return np.ascontiguousarray(probabilities[:, 1])
        return probabilities


class SkopsRuntime:
    """Loads skops files, and refuses those with types that are not known to be safe.

    Args:
        url: `skops:`.
    """

    def __init__(self, url: str = "skops:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> SkopsModel:
        """Load a skops file.

        Args:
            file: The model's file or folder.
            signature: The model's inputs and output.

        Raises:
            Invalid: The file cannot be loaded safely, or skops is missing.
        """
        try:
            import skops.io
        except ModuleNotFoundError as error:
            raise missing_extra(
                "train", "Running a scikit-learn model that has no graph"
            ) from error
        try:
            untrusted = skops.io.get_untrusted_types(file=file)
            if untrusted:
                raise Invalid(
                    f"'{file.name}' holds {', '.join(untrusted)}, which is not known to be safe."
                )
            return SkopsModel(skops.io.load(file, trusted=[]), signature)
        except Invalid:
            raise
        except Exception as error:
            raise Invalid(f"'{file.name}' is not a model that skops can load: {error}") from error


def frame(columns: Columns) -> Any:
    """Return columns as a pandas frame, in which missing text is None.

    Args:
        columns: The columns.
    """
    import pandas as pd

    series: dict[str, Any] = {}
    for name, values in columns.items():
        is_text = values.dtype == object
        series[name] = [value or None for value in values.tolist()] if is_text else values
    return pd.DataFrame(series)
