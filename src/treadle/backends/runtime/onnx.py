"""Models run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Signature


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
            return np.ascontiguousarray(answer[:, 1])
        if self._signature.output == "value":
            return np.asarray(answer, dtype=np.float32).reshape(-1)
        return np.asarray(answer)


class OnnxRuntime:
    """One thread per model: a server's parallelism is its processes and its batches."""

    def __init__(self, url: str = "onnx:") -> None:
        self.url = url

    def load(self, file: Path, signature: Signature) -> OnnxModel:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise missing_extra("serve", "Running an ONNX model") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Invalid(f"'{file.name}' is not a model that ONNX Runtime can load: {error}") from error
        return OnnxModel(session, signature)


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
