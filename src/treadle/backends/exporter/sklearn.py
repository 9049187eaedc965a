"""Turns scikit-learn estimators into ONNX graphs, and those that have no graph into skops files."""

import copy
import importlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Exported, Field, Signature

_OPSETS = {"": 17, "ai.onnx.ml": 3}  # the newest that all converters and runtimes support


class SklearnExporter:
    """Exports through skl2onnx, with onnxmltools for LightGBM and XGBoost.

    Numbers become float32 inputs and text becomes string inputs, each of shape (rows, 1). An
    estimator that takes numbers by position (any that does not begin with a ColumnTransformer)
    becomes a graph with one input of shape (rows, columns), which runs much faster. What no
    converter supports is kept as a skops file, which holds data and names of types that are safe
    to create, and no code; scikit-learn runs it.

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
        """
        numeric = {
            str(name): np.issubdtype(np.asarray(example[name]).dtype, np.number)
            for name in example.columns
        }
        boolean = {str(name): np.asarray(example[name]).dtype == bool for name in example.columns}
        inputs = [
            Field(name=name, kind="number" if is_number or boolean[name] else "text")
            for name, is_number in numeric.items()
        ]
        classes = [str(label) for label in getattr(estimator, "classes_", [])]
        if not classes:
            return Signature(inputs=inputs, output=_output(estimator))
        return Signature(
            inputs=inputs,
            output="probability" if len(classes) == 2 else "probabilities",
            classes=classes,
        )

    def export(self, estimator: Any, signature: Signature) -> Exported:
        """Export an estimator as ONNX, else as skops.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.

        Raises:
            Invalid: Neither works.
        """
        try:
            return Exported(self._graph(estimator, signature), signature)
        except Invalid as error:
            return Exported(_skops(estimator, error), replace(signature, runtime="skops"))

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return the estimator's own answers, in the signature's form.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
            inputs: A frame of inputs.
        """
        if signature.output == "score":
            return -np.asarray(estimator.decision_function(inputs))
        values = signature.output in ("value", "values")
        method = estimator.predict if values else estimator.predict_proba
        answers = np.asarray(method(inputs))
        return answers[:, 1] if signature.output == "probability" else answers

    def _graph(self, estimator: Any, signature: Signature) -> bytes:
        try:
            from skl2onnx import to_onnx
            from skl2onnx.common.data_types import FloatTensorType, StringTensorType
        except ModuleNotFoundError as error:
            raise missing_extra("train", "Packaging a scikit-learn model") from error
        types = {"number": FloatTensorType, "text": StringTensorType}
        only_numbers = all(field.kind == "number" for field in signature.inputs)
        as_matrix = only_numbers and not _by_name(estimator)
        inputs = [(field.name, types[field.kind]([None, 1])) for field in signature.inputs]
        if as_matrix:
            inputs = [("numbers", FloatTensorType([None, len(signature.inputs)]))]
        options = {"zipmap": False} if signature.classes else None
        try:
            model = _with_boosters(estimator)
            if not as_matrix:
                model = _by_column(model, signature)
            graph = to_onnx(model, initial_types=inputs, options=options, target_opset=_OPSETS)
        except Exception as error:
            name = type(estimator).__name__
            raise Invalid(
                f"{name} cannot be packaged as ONNX: {str(error).splitlines()[0][:300]}"
            ) from error
        return bytes(
            (_negated(graph) if signature.output == "score" else graph).SerializeToString()
        )


def _output(estimator: Any) -> Literal["value", "score"]:
    """What an estimator without classes gives: a number, or how strange a row is."""
    from sklearn.base import is_outlier_detector

    return "score" if is_outlier_detector(estimator) else "value"


def _negated(graph: Any) -> Any:
    """The graph with its last output, which is low for anomalies, turned round."""
    from onnx import helper

    decision = graph.graph.output[-1]
    graph.graph.node.append(helper.make_node("Neg", [decision.name], ["anomaly_score"]))
    score = helper.make_tensor_value_info(
        "anomaly_score", decision.type.tensor_type.elem_type, [None, 1]
    )
    del graph.graph.output[:]
    graph.graph.output.append(score)
    return graph


def _skops(estimator: Any, error: Invalid) -> bytes:
    """The estimator as a skops file; raises the given error where that is impossible too."""
    try:
        import skops.io
    except ModuleNotFoundError:
        raise Invalid(
            f"{error.message} With 'skops' installed it could be kept as it is."
        ) from error
    try:
        content = bytes(skops.io.dumps(estimator))
        untrusted = skops.io.get_untrusted_types(data=content)
    except Exception as other:
        raise error from other
    if untrusted:
        raise Invalid(
            f"{error.message} It cannot be kept as it is either: "
            f"it holds {', '.join(untrusted)}, which is code."
        ) from error
    return content


def _with_boosters(estimator: Any) -> Any:
    """The estimator, prepared for conversion where it has models of LightGBM or XGBoost."""
    steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    used = {type(step).__module__.partition(".")[0] for step in steps} & {"lightgbm", "xgboost"}
    if not used:
        return estimator
    try:
        import onnxmltools  # noqa: F401
    except ModuleNotFoundError as error:
        libraries = " and ".join(sorted(used))
        raise missing_extra("boosting", f"Packaging a model of {libraries}") from error
    for library in used:
        _register(library)
    made = copy.deepcopy(estimator)
    for step in [step for _, step in getattr(made, "steps", [("", made)])]:
        if type(step).__module__.startswith("xgboost"):
            step.get_booster().feature_names = None  # the converter takes only names f0, f1, …
    return made


def _register(library: str) -> None:
    """Register a library's converters with skl2onnx."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = {
        "Classifier": calculate_linear_classifier_output_shapes,
        "Regressor": calculate_linear_regressor_output_shapes,
    }
    package = importlib.import_module(library)
    if library == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (
            convert_lightgbm as convert,
        )

        names = {
            "Classifier": ("LGBMClassifier", "LightGbm"),
            "Regressor": ("LGBMRegressor", "LightGbm"),
        }
    else:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import (
            convert_xgboost as convert,
        )

        names = {
            "Classifier": ("XGBClassifier", "XGBoost"),
            "Regressor": ("XGBRegressor", "XGBoost"),
        }
    classifier_options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for kind, (name, prefix) in names.items():
        options = classifier_options if kind == "Classifier" else None
        update_registered_converter(
            getattr(package, name), f"{prefix}{name}", shapes[kind], convert, options=options
        )


def _by_name(estimator: Any) -> bool:
    """Whether an estimator takes columns by name, that is, begins with a ColumnTransformer."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    first = estimator.steps[0][1] if isinstance(estimator, Pipeline) else estimator
    return isinstance(first, ColumnTransformer)


def _by_column(estimator: Any, signature: Signature) -> Any:
    """The estimator behind a step that takes columns by name, where it has no such step."""
    if _by_name(estimator):
        return estimator
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    names = [field.name for field in signature.inputs]
    example = pd.DataFrame(
        {
            field.name: [0.0, 1.0] if field.kind == "number" else ["a", "b"]
            for field in signature.inputs
        }
    )
    gather = ColumnTransformer([("columns", "passthrough", names)]).fit(example)
    return Pipeline([("columns", gather), ("estimator", estimator)])
