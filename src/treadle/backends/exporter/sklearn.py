"""Packages scikit-learn's estimators, and what follows its conventions: as graphs where it can."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.exporter.library import fields_of, library_way
from treadle.backends.exporter.sklearn_graph import graph
from treadle.backends.runtime.estimators import answers
from treadle.backends.runtime.skops import KNOWN_TYPES
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Exported, Precision, Signature, Way


class SklearnExporter:
    """Exports through skl2onnx, with onnxmltools for LightGBM and XGBoost; else by skops or pickle.

    The ways are, in order: an ONNX graph of float32; one of float64; a skops file, which holds data
    and names of types that are safe to create, and no code; and the estimator as it is, a pickle,
    for its own library.

    Args:
        url: `sklearn:`.
    """

    def __init__(self, url: str = "sklearn:") -> None:
        self.url = url

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Return an estimator's signature.

        Args:
            estimator: The trained model.
            example: A frame of example inputs.

        Raises:
            Invalid: The estimator cannot predict, or answers several questions at once.
        """
        name = type(estimator).__name__
        if not hasattr(estimator, "predict") and not hasattr(estimator, "decision_function"):
            raise Invalid(f"{name} has no method 'predict', so there is nothing to serve.")
        labels = getattr(estimator, "classes_", [])
        if any(np.ndim(label) for label in labels):
            raise Invalid(
                f"{name} answers {len(labels)} questions at once, with classes for each. "
                "Package a model for each label."
            )
        inputs, classes = fields_of(example), [str(label) for label in labels]
        if _is_detector(estimator):
            return Signature(inputs=inputs, output="score")
        if classes:
            two = len(classes) == 2
            output: Any = "probability" if two else "probabilities"
            return Signature(inputs=inputs, output=output, classes=classes)
        given = np.asarray(estimator.predict(example[:2]))
        several = given.ndim == 2 and given.shape[1] > 1
        return Signature(inputs=inputs, output="values" if several else "value")

    def ways(self, estimator: Any, signature: Signature) -> Sequence[Way]:
        """List the ways to package an estimator, the fastest first.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
        """

        def as_graph(precision: Precision) -> Exported:
            described = replace(signature, runtime="onnx", precision=precision)
            return Exported(graph(estimator, described), described)

        return [
            Way("ONNX", lambda: as_graph("float32")),
            Way("ONNX in double precision", lambda: as_graph("float64")),
            Way("skops", lambda: _skops(estimator, signature)),
            library_way(estimator, signature),
        ]

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return the estimator's own answers, in the signature's form.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
            inputs: A frame of inputs.
        """
        return answers(estimator, signature, inputs)


def _is_detector(estimator: Any) -> bool:
    """Whether an estimator tells strange rows; other libraries' may lack scikit-learn's tags."""
    from sklearn.base import is_outlier_detector

    try:
        return bool(is_outlier_detector(estimator))
    except (AttributeError, TypeError):
        return False


def _skops(estimator: Any, signature: Signature) -> Exported:
    try:
        import skops.io
    except ModuleNotFoundError as error:
        raise missing_extra("train", "Keeping a model as a skops file") from error
    name = type(estimator).__name__
    try:
        content = bytes(skops.io.dumps(estimator))
        untrusted = set(skops.io.get_untrusted_types(data=content)) - set(KNOWN_TYPES)
    except Exception as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise Invalid(f"{name} cannot be written by skops: {lines[0][:300]}") from error
    if untrusted:
        kinds = ", ".join(sorted(untrusted)[:3])
        raise Invalid(f"{name} holds {kinds}, which skops does not know to be safe")
    return Exported(content, replace(signature, runtime="skops", precision="float64"))
