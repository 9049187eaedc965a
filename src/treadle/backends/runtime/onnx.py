"""Runs models by ONNX Runtime."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Field, Signature

CPU = "CPUExecutionProvider"


class OnnxModel:
    """An ONNX graph in memory.

    It takes each column as an input of shape (rows, 1), or all columns, where they are numbers, as
    one input of shape (rows, columns).

    Args:
        session: ONNX Runtime's session.
        signature: The graph's inputs and output.
    """

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session, self._signature = session, signature
        self._output = [session.get_outputs()[-1].name]
        inputs = session.get_inputs()
        self._matrix = inputs[0].name if _takes_matrix(inputs, signature) else None
        names = [described.name for described in inputs]
        self._inputs = [] if self._matrix else _matched(signature, names)

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Return the answers as float32 (rows,) or (rows, classes).

        Args:
            columns: The model's inputs.
        """
        if self._matrix is not None:
            feed = {self._matrix: columns.numbers}
        else:
            feed = {name: columns[column].reshape(-1, 1) for name, column in self._inputs}
        answer = self._session.run(self._output, feed)[0]
        if self._signature.output == "probability":
            return np.ascontiguousarray(answer[:, -1]) if answer.ndim == 2 else np.asarray(answer)
        if self._signature.output in ("value", "score"):
            return np.asarray(answer, dtype=np.float32).reshape(-1)
        return np.asarray(answer)


class OnnxRuntime:
    """Loads ONNX graphs, one thread each: servers run in parallel by processes and batches.

    Args:
        url: `onnx:`.
    """

    def __init__(self, url: str = "onnx:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> OnnxModel:
        """Load an ONNX graph.

        Args:
            file: The model's file or folder.
            signature: The model's inputs and output.

        Raises:
            Invalid: The file is no ONNX graph that runs here.
        """
        return OnnxModel(_session(file), signature)

    def describe(self, file: Path) -> Signature:
        """Return the signature of a graph that has no description.

        Args:
            file: The graph. It takes one matrix of numbers, or an input for each column.

        Raises:
            Invalid: The file is no ONNX graph, or it takes or gives anything else.
        """
        session = _session(file)
        inputs = session.get_inputs()
        shape = inputs[0].shape
        is_float = len(inputs) == 1 and inputs[0].type == "tensor(float)"
        if is_float and len(shape) == 2 and isinstance(shape[1], int):
            width = shape[1]
            names = [inputs[0].name] if width == 1 else [f"x{index}" for index in range(width)]
            fields = [Field(name=name, kind="number") for name in names]
        else:
            fields = [_field(described) for described in inputs]
        kind, classes = _output(session.get_outputs())
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


def _providers(available: list[str]) -> list[str]:
    """What runs the graph: a GPU where ONNX Runtime was built for one, else the processor.

    ``TREADLE_PROVIDERS`` names others, such as TensorRT. What a provider does not support falls to
    the next one; the processor supports everything.
    """
    named = os.environ.get("TREADLE_PROVIDERS", "CUDA").replace(" ", "").split(",")
    preferred = [
        name if name.endswith("ExecutionProvider") else f"{name}ExecutionProvider"
        for name in named
        if name
    ]
    absent = [name for name in preferred if name not in available]
    if absent and "TREADLE_PROVIDERS" in os.environ:
        raise Invalid(
            f"TREADLE_PROVIDERS names {absent[0]}, which this ONNX Runtime has not. "
            f"It has {', '.join(available)}."
        )
    return [*(name for name in preferred if name in available and name != CPU), CPU]


def _field(described: Any) -> Field:
    kinds: dict[str, Any] = {"tensor(float)": "number", "tensor(string)": "text"}
    if described.type not in kinds or described.shape[1:] not in ([], [1]):
        shape = [size if isinstance(size, int) else "rows" for size in described.shape]
        raise Invalid(
            f"The graph's input '{described.name}' is {described.type} of shape {shape}. "
            "Taken are columns (float or string of shape [rows, 1]) "
            "or one matrix of float [rows, columns]."
        )
    return Field(name=described.name, kind=kinds[described.type])


def _output(outputs: list[Any]) -> tuple[Any, list[str]]:
    """The kind of output and the classes: classifiers give labels, then their probabilities."""
    last = outputs[-1]
    width = last.shape[1] if last.type == "tensor(float)" and len(last.shape) == 2 else 1
    if last.type != "tensor(float)" or not isinstance(width, int):
        raise Invalid(
            f"The graph's output '{last.name}' is {last.type} of shape {last.shape}; "
            "wanted are floats [rows] or [rows, n]. "
            "From scikit-learn, convert with zipmap=False."
        )
    if width == 1:
        return "value", []
    classifies = len(outputs) == 2
    if classifies and width == 2:
        return "probability", ["0", "1"]
    kind = "probabilities" if classifies else "values"
    return kind, [str(index) for index in range(width)]


def _takes_matrix(inputs: list[Any], signature: Signature) -> bool:
    """Whether a graph takes all of a signature's columns, which are numbers, as one matrix."""
    numbers = all(field.kind == "number" for field in signature.inputs)
    return numbers and len(inputs) == 1 and inputs[0].shape[1:] == [len(signature.inputs)]


def _matched(signature: Signature, names: list[str]) -> list[tuple[str, str]]:
    """The graph's inputs with their columns, by order: converters may rename columns."""
    columns = [field.name for field in signature.inputs]
    if len(names) == len(columns):
        return list(zip(names, columns, strict=True))
    return [(name, name) for name in names if name in columns]
