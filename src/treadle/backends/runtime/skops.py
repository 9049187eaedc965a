"""scikit-learn models that have no ONNX graph, kept by skops: data, and names of types that are safe to make."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Signature


class SkopsModel:
    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator, self._signature = estimator, signature
        self._named = hasattr(estimator, "feature_names_in_")

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        rows = frame(columns) if self._named or columns.layout.texts else columns.numbers
        output = self._signature.output
        if output in ("value", "values"):
            return np.asarray(self._estimator.predict(rows), dtype=np.float32)
        given = np.asarray(self._estimator.predict_proba(rows), dtype=np.float32)
        return np.ascontiguousarray(given[:, 1]) if output == "probability" else given


class SkopsRuntime:
    """``skops:``. Raises Invalid for a file that holds a type which is not known to be safe."""

    def __init__(self, url: str = "skops:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> SkopsModel:
        try:
            import skops.io
        except ModuleNotFoundError as error:
            raise missing_extra(
                "train", "Running a scikit-learn model that has no graph"
            ) from error
        try:
            strange = skops.io.get_untrusted_types(file=file)
            if strange:
                raise Invalid(
                    f"'{file.name}' holds {', '.join(strange)}, which is not known to be safe."
                )
            return SkopsModel(skops.io.load(file, trusted=[]), signature)
        except Invalid:
            raise
        except Exception as error:
            raise Invalid(f"'{file.name}' is not a model that skops can load: {error}") from error


def frame(columns: Columns) -> Any:
    """Columns as a pandas frame; text that is missing is None."""
    import pandas as pd

    given: dict[str, Any] = {}
    for name, values in columns.items():
        given[name] = (
            [value or None for value in values.tolist()] if values.dtype == object else values
        )
    return pd.DataFrame(given)
