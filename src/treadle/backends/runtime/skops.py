"""Runs scikit-learn models that have no ONNX graph, from files of skops.

Such a file holds data and the names of types that are safe to create.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.runtime.estimators import predict
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Signature

KNOWN_TYPES = ("sklearn.utils._bunch.Bunch",)
"""Types that are safe although skops does not list them: a dictionary with attributes."""


class SkopsModel:
    """A scikit-learn estimator in memory.

    Args:
        estimator: The estimator.
        signature: Its inputs and output.
    """

    def __init__(self, estimator: Any, signature: Signature) -> None:
        self._estimator, self._signature = estimator, signature

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the answers as float32 (rows,) or (rows, classes).

        Args:
            columns: The model's inputs.
        """
        return predict(self._estimator, self._signature, columns)


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
            untrusted = set(skops.io.get_untrusted_types(file=file)) - set(KNOWN_TYPES)
            if untrusted:
                kinds = ", ".join(sorted(untrusted))
                raise Invalid(f"'{file.name}' holds {kinds}, which is not known to be safe.")
            return SkopsModel(skops.io.load(file, trusted=KNOWN_TYPES), signature)
        except Invalid:
            raise
        except Exception as error:
            raise Invalid(f"'{file.name}' is not a model that skops can load: {error}") from error
