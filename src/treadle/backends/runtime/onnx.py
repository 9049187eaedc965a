"""Models run by ONNX Runtime."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Field, Signature

CPU = "CPUExecutionProvider"


class OnnxModel:
    """A graph takes each column as an input of shape (rows, 1), or all its numbers as one input of shape (rows, numbers)."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session, self._signature = session, signature
        self._output = [session.get_outputs()[-1].name]
        inputs = session.get_inputs()
        self._matrix = inputs[0].name if _takes_matrix(inputs, signature) else None
        self._inputs = [] if self._matrix else _matched(signature, [given.name for given in inputs])

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        if self._matrix is not None:
            feed = {self._matrix: columns.numbers}
        else:
            feed = {name: columns[column].reshape(-1, 1) for name, column in self._inputs}
        answer = self._session.run(self._output, feed)[0]
        if self._signature.output == "probability":
            return np.ascontiguousarray(answer[:, -1]) if answer.ndim == 2 else np.asarray(answer)
        if self._signature.output == "value":
            return np.asarray(answer, dtype=np.float32).reshape(-1)
        return np.asarray(answer)


class OnnxRuntime:
    """One thread per model: a server's parallelism is its processes and its batches."""

    def __init__(self, url: str = "onnx:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> OnnxModel:
        return OnnxModel(_session(file), signature)

    def describe(self, file: Path) -> Signature:
        """The signature of a graph that nobody has described: one input of numbers side by side, or one for each column.

        Raises Invalid for a graph that takes or gives anything else.
        """
        session = _session(file)
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = inputs[0].shape
        if (
            len(inputs) == 1
            and inputs[0].type == "tensor(float)"
            and len(shape) == 2
            and isinstance(shape[1], int)
        ):
            names = (
                [inputs[0].name] if shape[1] == 1 else [f"x{place}" for place in range(shape[1])]
            )
            fields = [Field(name=name, kind="number") for name in names]
        else:
            fields = [_field(given) for given in inputs]
        kind, classes = _given(outputs)
        return Signature(inputs=fields, output=kind, classes=classes)


def _session(file: Path) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise missing_extra("serve", "Running an ONNX model") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=_providers(onnxruntime.get_available_providers())
        )
    except Invalid:
        raise
    except Exception as error:
        raise Invalid(
            f"'{file.name}' is not a model that ONNX Runtime can load: {error}"
        ) from error


def _providers(there: list[str]) -> list[str]:
    """What runs the graph: a GPU where ONNX Runtime was built for one, unless ``TREADLE_PROVIDERS`` names others (TensorRT, say).

    What a provider does not know falls to the next; the processor knows all.
    """
    asked = os.environ.get("TREADLE_PROVIDERS", "CUDA").replace(" ", "").split(",")
    wanted = [
        name if name.endswith("ExecutionProvider") else f"{name}ExecutionProvider"
        for name in asked
        if name
    ]
    if "TREADLE_PROVIDERS" in os.environ and (
        absent := [name for name in wanted if name not in there]
    ):
        raise Invalid(
            f"TREADLE_PROVIDERS names {absent[0]}, which this ONNX Runtime has not. It has {', '.join(there)}."
        )
    return [*(name for name in wanted if name in there and name != CPU), CPU]


def _field(given: Any) -> Field:
    kinds: dict[str, Any] = {"tensor(float)": "number", "tensor(string)": "text"}
    if given.type not in kinds or given.shape[1:] not in ([], [1]):
        shape = [size if isinstance(size, int) else "rows" for size in given.shape]
        raise Invalid(
            f"The graph's input '{given.name}' is {given.type} of shape {shape}. Taken are columns (float or string of shape "
            "[rows, 1]) or one matrix of float [rows, columns]."
        )
    return Field(name=given.name, kind=kinds[given.type])


def _given(outputs: list[Any]) -> tuple[Any, list[str]]:
    """What a graph gives: classifiers give labels first, then a probability for each class."""
    last = outputs[-1]
    width = last.shape[1] if last.type == "tensor(float)" and len(last.shape) == 2 else 1
    if last.type != "tensor(float)" or not isinstance(width, int):
        raise Invalid(
            f"The graph's output '{last.name}' is {last.type} of shape {last.shape}; wanted are floats [rows] or [rows, n]. "
            "From scikit-learn, convert with zipmap=False."
        )
    if width == 1:
        return "value", []
    if len(outputs) == 2 and width == 2:
        return "probability", ["0", "1"]
    return "probabilities" if len(outputs) == 2 else "values", [
        str(place) for place in range(width)
    ]


def _takes_matrix(inputs: list[Any], signature: Signature) -> bool:
    """Whether a graph takes all of a signature's columns, which are numbers, side by side."""
    numbers = all(field.kind == "number" for field in signature.inputs)
    return numbers and len(inputs) == 1 and inputs[0].shape[1:] == [len(signature.inputs)]


def _matched(signature: Signature, names: list[str]) -> list[tuple[str, str]]:
    """The graph's inputs with their columns: in order, for converters rename columns that are no identifiers."""
    columns = [field.name for field in signature.inputs]
    if len(names) == len(columns):
        return list(zip(names, columns, strict=True))
    return [(name, name) for name in names if name in columns]
