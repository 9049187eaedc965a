"""Models run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Columns, Signature


class OnnxModel:
    def __init__(self, session: Any, signature: Signature) -> None:
        self._session, self._signature = session, signature
        self._output = [session.get_outputs()[-1].name]
        self._inputs = _matched(signature, [given.name for given in session.get_inputs()])

    def predict(self, columns: Columns) -> NDArray[np.float32]:
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


def _matched(signature: Signature, names: list[str]) -> list[tuple[str, str]]:
    """The graph's inputs with their columns: in order, for converters rename columns that are no identifiers."""
    columns = [field.name for field in signature.inputs]
    if len(names) == len(columns):
        return list(zip(names, columns, strict=True))
    return [(name, name) for name in names if name in columns]
