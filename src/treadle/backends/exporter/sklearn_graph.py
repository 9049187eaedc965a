"""Converts scikit-learn's estimators to ONNX graphs that give answers in a signature's form."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from treadle.backends.exporter.boosters import register_boosters
from treadle.backends.exporter.thresholds import is_of_doubles, write_thresholds
from treadle.kernel.errors import Invalid, TreadleError, missing_extra
from treadle.ports.runtime import Signature

_OPSETS = {"": 17, "ai.onnx.ml": 3}  # the newest that all converters and runtimes support


def graph(estimator: Any, signature: Signature) -> bytes:
    """Convert an estimator to an ONNX graph.

    Numbers become inputs of the signature's precision and text becomes string inputs, each of shape
    (rows, 1). An estimator that takes numbers by position (any that does not begin with a
    ColumnTransformer) becomes a graph with one input of shape (rows, columns), which runs much
    faster.

    Args:
        estimator: The trained estimator.
        signature: Its inputs and output.

    Returns:
        The content of an ONNX file.

    Raises:
        Invalid: A part of the estimator has no converter.
    """
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    except ModuleNotFoundError as error:
        raise missing_extra("train", "Packaging a scikit-learn model") from error
    double = signature.precision == "float64"
    numbers = DoubleTensorType if double else FloatTensorType
    types = {"number": numbers, "text": StringTensorType}
    only_numbers = all(field.kind == "number" for field in signature.inputs)
    as_matrix = only_numbers and not _by_name(estimator)
    inputs = [(field.name, types[field.kind]([None, 1])) for field in signature.inputs]
    if as_matrix:
        inputs = [("numbers", numbers([None, len(signature.inputs)]))]
    votes = signature.classes and not hasattr(estimator, "predict_proba")
    options = {"zipmap": False} if signature.classes else None
    try:
        model = copy.deepcopy(estimator)
        _prepare(model)
        if not as_matrix:
            model = _by_column(model, signature)
        made = to_onnx(model, initial_types=inputs, options=options, target_opset=_OPSETS)
        if double:
            every = list(parts(model))
            if any(map(is_of_doubles, every)):
                _want_newest(made, "ai.onnx.ml")
                write_thresholds(made, every)
            else:
                _round_before_trees(made)
            _widen_after_trees(made)
        if signature.output == "score":
            _negate(made)
        elif votes:
            _vote(made, signature.classes)
    except TreadleError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        name = type(estimator).__name__
        raise Invalid(f"{name} has no graph: {lines[0][:300]}") from error
    return bytes(made.SerializeToString())


def parts(estimator: Any) -> Iterator[Any]:
    """Iterate over an estimator and the estimators within it: steps, columns', an ensemble's.

    Args:
        estimator: The estimator.
    """
    waiting, seen = [estimator], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting.extend(one)
        elif hasattr(one, "get_params") and not isinstance(one, type) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting.extend(vars(one).values())


def _prepare(model: Any) -> None:
    """Make a copy of an estimator what the converters take."""
    every = list(parts(model))
    register_boosters(every)
    for one in every:
        if type(one).__name__ == "VotingClassifier":
            one.flatten_transform = False  # it says how to transform, which no prediction does
        elif type(one).__name__ == "LinearSVC":
            _let_linear_svc_be_asked()


def _let_linear_svc_be_asked() -> None:
    """Register LinearSVC with the option that all other classifiers have, ``zipmap``."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter, get_shape_calculator
    from sklearn.svm import LinearSVC

    name = "SklearnLinearSVC"
    flags = {option: [True, False] for option in ("nocl", "output_class_labels", "raw_scores")}
    update_registered_converter(
        LinearSVC,
        name,
        get_shape_calculator(name),
        getattr(get_converter(name), "_fct", None),
        options={**flags, "zipmap": [True, False, "columns"]},
    )


def _round_before_trees(model: Any) -> None:
    """Let trees compare numbers that were rounded to float32, as they do where they were grown."""
    from onnx import TensorProto, helper

    for node in [one for one in model.graph.node if one.op_type.startswith("TreeEnsemble")]:
        index, name = list(model.graph.node).index(node), node.input[0]
        rounded, wide = f"{name}_rounded_{index}", f"{name}_wide_{index}"
        to_float = helper.make_node("Cast", [name], [rounded], to=TensorProto.FLOAT)
        to_double = helper.make_node("Cast", [rounded], [wide], to=TensorProto.DOUBLE)
        in_double = any(attribute.name.endswith("_as_tensor") for attribute in node.attribute)
        node.input[0] = wide if in_double else rounded
        model.graph.node.insert(index, to_float)
        if in_double:
            model.graph.node.insert(index + 1, to_double)


def _widen_after_trees(model: Any) -> None:
    """Make double of the numbers that trees give: float32, whatever they are given."""
    from onnx import TensorProto, helper

    nodes = model.graph.node
    for node in [one for one in nodes if one.op_type.startswith("TreeEnsemble")]:
        place = len(node.output) - 1  # a classifier gives labels first
        name = node.output[place]
        readers = [one.op_type for one in nodes if name in one.input]
        if readers and all(kind == "Cast" for kind in readers):
            continue
        node.output[place] = f"{name}_narrow"
        widen = helper.make_node("Cast", [node.output[place]], [name], to=TensorProto.DOUBLE)
        nodes.insert(list(nodes).index(node) + 1, widen)
    for output in model.graph.output:
        kind = output.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT:
            kind.elem_type = TensorProto.DOUBLE


def _negate(model: Any) -> None:
    """Turn round the last output, which is low for anomalies."""
    from onnx import helper

    decision = model.graph.output[-1]
    model.graph.node.append(helper.make_node("Neg", [decision.name], ["anomaly_score"]))
    _replace_outputs(model, "anomaly_score", decision.type.tensor_type.elem_type, 1)


def _vote(model: Any, classes: list[str]) -> None:
    """Give 1 for the class that is named, and 0 for the others."""
    from onnx import TensorProto, helper

    label = model.graph.output[0]
    _want_newest(model, "ai.onnx.ml")
    kind, nodes, name = label.type.tensor_type.elem_type, model.graph.node, label.name
    if kind == TensorProto.STRING:
        numbers: dict[str, Any] = {"keys_strings": classes}
    else:
        numbers = {"keys_int64s": [_label(one) for one in classes]}
        nodes.append(helper.make_node("Cast", [name], ["vote_label"], to=TensorProto.INT64))
        name = "vote_label"
    nodes.append(
        helper.make_node(
            "LabelEncoder",
            [name],
            ["vote_index"],
            domain="ai.onnx.ml",
            values_int64s=list(range(len(classes))),
            **numbers,
        )
    )
    constants = {"vote_shape": [-1, 1], "vote_all": list(range(len(classes)))}
    for constant, values in constants.items():
        model.graph.initializer.append(
            helper.make_tensor(constant, TensorProto.INT64, [len(values)], np.array(values))
        )
    nodes.extend(
        [
            helper.make_node("Reshape", ["vote_index", "vote_shape"], ["vote_column"]),
            helper.make_node("Equal", ["vote_column", "vote_all"], ["vote_hit"]),
            helper.make_node("Cast", ["vote_hit"], ["votes"], to=TensorProto.FLOAT),
        ]
    )
    _replace_outputs(model, "votes", TensorProto.FLOAT, len(classes))


def _want_newest(model: Any, domain: str) -> None:
    """Let a graph use the newest operators of a domain; the older ones mean the same in it."""
    from onnx import helper

    for one in model.opset_import:
        if one.domain == domain:
            one.version = _OPSETS[domain]
            return
    model.opset_import.append(helper.make_opsetid(domain, _OPSETS[domain]))


def _label(name: str) -> int:
    """The number that graphs give for a class: a boolean's is 0 or 1."""
    return {"False": 0, "True": 1}[name] if name in ("False", "True") else int(float(name))


def _replace_outputs(model: Any, name: str, kind: int, width: int) -> None:
    from onnx import helper

    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, kind, [None, width]))


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
