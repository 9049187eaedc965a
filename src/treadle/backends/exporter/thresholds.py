"""Gives graphs in double precision the thresholds that their trees compare with, unrounded.

The converters write thresholds as float32. A histogram booster compares float64: a number between a
threshold and its rounded form goes the other way.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("HistGradientBoosting", "LGBM")
"""Trees that compare float64. scikit-learn's others round numbers to float32 first."""
_WEIGHTS = ("nodes_values", "class_weights", "target_weights", "base_values")


def is_of_doubles(estimator: Any) -> bool:
    """Return whether an estimator's trees compare float64.

    Args:
        estimator: The estimator.
    """
    return type(estimator).__name__.startswith(KINDS)


def write_thresholds(model: Any, parts: Iterable[Any]) -> None:
    """Write the thresholds of histogram boosters into a graph as they are.

    Args:
        model: The graph, changed in place.
        parts: The estimators that it was made of.
    """
    known = [_thresholds(one) for one in parts if is_of_doubles(one)]
    if len(known) != 1:
        return  # whose trees are whose cannot be told; comparing the answers decides
    for node in model.graph.node:
        if node.op_type.startswith("TreeEnsemble"):
            _write(node, known[0])


def _write(node: Any, known: dict[int, NDArray[np.float64]]) -> None:
    """Replace a node's float32 by float64, each threshold by the nearest of its feature."""
    from onnx import TensorProto, helper

    given = {one.name: one for one in node.attribute}
    features, modes = given["nodes_featureids"].ints, given["nodes_modes"].strings
    doubles = {
        name: np.array(given[name].floats, dtype=np.float64) for name in _WEIGHTS if name in given
    }
    values = doubles["nodes_values"]
    for index, (feature, mode) in enumerate(zip(features, modes, strict=True)):
        if mode != b"LEAF" and feature in known:
            own = known[feature]
            values[index] = own[np.abs(own - values[index]).argmin()]
    for name, numbers in doubles.items():
        node.attribute.remove(given[name])
        tensor = helper.make_tensor(name, TensorProto.DOUBLE, [len(numbers)], numbers)
        node.attribute.append(helper.make_attribute(f"{name}_as_tensor", tensor))
    if "nodes_hitrates" in given:
        node.attribute.remove(given["nodes_hitrates"])


def _thresholds(estimator: Any) -> dict[int, NDArray[np.float64]]:
    """An ensemble's thresholds by feature's index."""
    if hasattr(estimator, "booster_"):
        table = estimator.booster_.trees_to_dataframe().dropna(subset=["threshold"])
        names = estimator.booster_.feature_name()
        features = np.array([names.index(name) for name in table["split_feature"]], dtype=np.int64)
        values = table["threshold"].to_numpy(dtype=np.float64)
    else:
        nodes = np.concatenate([one.nodes for round in estimator._predictors for one in round])
        nodes = nodes[nodes["is_leaf"] == 0]
        features, values = nodes["feature_idx"].astype(np.int64), nodes["num_threshold"]
    return {int(feature): np.unique(values[features == feature]) for feature in set(features)}
