"""What estimators of Python libraries answer: scikit-learn's, modules, and plain functions."""

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Signature


def answers(estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
    """Return an estimator's own answers, in the form that its signature names.

    A classifier without ``predict_proba`` gives 1 for the class that it names and 0 for the others.

    Args:
        estimator: A fitted estimator, a PyTorch or Keras module, or a function of a frame.
        signature: Its signature.
        inputs: A frame of the inputs, or a matrix (rows, columns) where it takes numbers only.

    Returns:
        Array of shape (rows,) or (rows, outputs).
    """
    if is_module(estimator):
        given = module_answers(estimator, inputs)
    elif not hasattr(estimator, "predict"):
        given = np.asarray(estimator(inputs))
    elif signature.output == "score":
        return -np.asarray(estimator.decision_function(inputs)).reshape(-1)
    elif not signature.classes:
        given = np.asarray(estimator.predict(inputs))
    elif hasattr(estimator, "predict_proba"):
        given = np.asarray(estimator.predict_proba(inputs))
    else:
        named = np.asarray(estimator.predict(inputs)).astype(str)
        given = (named[:, None] == np.array(signature.classes)).astype(np.float64)
    if signature.output == "probability" and given.ndim == 2:
        given = given[:, -1]
    return given.reshape(-1) if signature.output == "value" else given


def predict(estimator: Any, signature: Signature, columns: Columns) -> NDArray[np.float32]:
    """Let an estimator predict rows.

    Args:
        estimator: A fitted estimator, a module, or a function of a frame.
        signature: Its signature.
        columns: Rows as a runtime takes them.

    Returns:
        Array of shape (rows,) or (rows, outputs).

    Raises:
        Invalid: The estimator did not give one answer per row.
    """
    by_name = hasattr(estimator, "feature_names_in_") or not hasattr(estimator, "n_features_in_")
    inputs = frame(columns) if by_name or columns.layout.texts else columns.numbers
    given = np.asarray(answers(estimator, signature, inputs), dtype=np.float32)
    if len(given) != columns.rows:
        raise Invalid(f"The model gave {len(given)} answers to {columns.rows} rows.")
    return np.ascontiguousarray(given)


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


def is_module(estimator: Any) -> bool:
    """Return whether an estimator is a module of PyTorch or a model of Keras.

    Args:
        estimator: The estimator.
    """
    return any(is_of(estimator, library) for library in ("torch", "keras", "tensorflow"))


def is_of(estimator: Any, library: str) -> bool:
    """Return whether an estimator's class, or one that it derives from, is of a library.

    Args:
        estimator: The estimator.
        library: Name of the library's package.
    """
    return any(kind.__module__.partition(".")[0] == library for kind in type(estimator).__mro__)


def module_answers(module: Any, inputs: Any) -> NDArray[Any]:
    """Return what a module gives for numbers.

    Args:
        module: A module of PyTorch, or a model of Keras.
        inputs: A frame or a matrix of numbers (rows, columns).
    """
    numbers = np.asarray(inputs, dtype=np.float32)
    if not is_of(module, "torch"):
        return np.asarray(module(numbers))
    import torch

    set_to_evaluate(module)
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(numbers)).detach().cpu().numpy())


def set_to_evaluate(module: Any) -> None:
    """Switch off dropout and the like; what torch.export has saved cannot be switched.

    Args:
        module: A module of PyTorch.
    """
    with contextlib.suppress(NotImplementedError):
        module.eval()
