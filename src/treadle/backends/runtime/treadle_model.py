"""Loads a model that Treadle has packaged as ONNX, for MLflow's clients; Treadle is not needed.

A client receives this file with the model and calls ``_load_pyfunc``, as MLflow's format says. The
answers are those of the model server.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd


class TreadleModel:
    """A packaged model: answers a frame of its inputs.

    Args:
        folder: The folder with ``model.onnx`` and ``signature.json``.
    """

    def __init__(self, folder: Path) -> None:
        self.signature = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def predict(self, frame: Any) -> Any:
        """Answer rows.

        Args:
            frame: A pandas frame with the model's inputs as columns.

        Returns:
            A series of floats, (rows,), or a frame with a column for each class or output.
        """
        given = (
            frame if isinstance(frame, pd.DataFrame) else pd.DataFrame(frame, columns=self.names)
        )
        answer = self._session.run([self._session.get_outputs()[-1].name], self._feed(given))[0]
        output, classes = self.signature["output"], self.signature.get("classes", [])
        if output == "probability":
            answer = answer[:, -1] if answer.ndim == 2 else answer
        elif output in ("value", "score"):
            answer = answer.reshape(-1)
        if answer.ndim == 1:
            return pd.Series(answer.astype(np.float32), index=given.index)
        return pd.DataFrame(answer, index=given.index, columns=classes or None)

    @property
    def names(self) -> list[str]:
        """Names of the inputs."""
        return [field["name"] for field in self.signature["inputs"]]

    def _feed(self, frame: Any) -> dict[str, Any]:
        """The graph's inputs: one matrix of all numbers, or each column as (rows, 1)."""
        fields, inputs = self.signature["inputs"], self._session.get_inputs()
        precision = self.signature.get("precision", "float32")
        columns: dict[str, Any] = {}
        for field in fields:
            column = frame[field["name"]]
            if field["kind"] == "number":
                columns[field["name"]] = column.to_numpy(dtype=precision, na_value=np.nan)
            else:
                words = ["" if pd.isna(value) else str(value) for value in column]
                columns[field["name"]] = np.array(words, dtype=object)
        are_numbers = all(field["kind"] == "number" for field in fields)
        if are_numbers and len(inputs) == 1 and inputs[0].shape[1:] == [len(fields)]:
            return {inputs[0].name: np.column_stack(list(columns.values()))}
        if len(inputs) == len(fields):
            pairs = zip(inputs, columns.values(), strict=True)
            return {described.name: column.reshape(-1, 1) for described, column in pairs}
        return {one.name: columns[one.name].reshape(-1, 1) for one in inputs}


def _load_pyfunc(path: str) -> TreadleModel:
    return TreadleModel(Path(path))
