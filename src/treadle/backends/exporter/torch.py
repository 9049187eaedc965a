"""Turns PyTorch modules and Keras models into ONNX graphs."""

import contextlib
import io
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Exported, Field, Signature

_OPSET = 18


class TorchExporter:
    """Exports a module that takes float32 (rows, columns) and gives (rows,) or (rows, outputs).

    Keras models are exported by Keras' own exporter.

    Args:
        url: `torch:`.
    """

    def __init__(self, url: str = "torch:") -> None:
        self.url = url

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Return a module's signature.

        Args:
            estimator: The trained model.
            example: A frame of example inputs.

        Raises:
            Invalid: A column holds no numbers.
        """
        not_numbers = [
            str(name)
            for name in example.columns
            if np.asarray(example[name]).dtype.kind not in "fiub"
        ]
        if not_numbers:
            raise Invalid(
                f"A module takes numbers, and column '{not_numbers[0]}' holds none. "
                "Encode it in the pipeline before it."
            )
        fields = [Field(name=str(name), kind="number") for name in example.columns]
        answers = _answers(estimator, example[:2])
        single = answers.ndim == 1 or answers.shape[1] == 1
        return Signature(inputs=fields, output="value" if single else "values")

    def export(self, estimator: Any, signature: Signature) -> Exported:
        """Export a module as ONNX.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.

        Raises:
            Invalid: The module has no graph, or a package that makes it is missing.
        """
        columns = len(signature.inputs)
        try:
            graph_of = _keras_graph if _is_of(estimator, "keras") else _torch_graph
            content = graph_of(estimator, columns)
        except ModuleNotFoundError as error:
            raise missing_extra("torch", f"Packaging a module ({error.name} is missing)") from error
        except Exception as error:
            lines = str(error).strip().splitlines()
            reason = lines[0] if lines else type(error).__name__
            raise Invalid(
                f"{type(estimator).__name__} cannot be packaged as ONNX: {reason[:300]}"
            ) from error
        return Exported(content, replace(signature, runtime="onnx"))

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return the module's own answers, in the signature's form.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
            inputs: A frame of inputs.
        """
        answers = _answers(estimator, inputs)
        if signature.output == "probability":
            return answers[:, -1] if answers.ndim == 2 else answers
        return answers.reshape(-1) if signature.output == "value" else answers


def _is_of(estimator: Any, library: str) -> bool:
    return any(kind.__module__.partition(".")[0] == library for kind in type(estimator).__mro__)


def _answers(estimator: Any, frame: Any) -> NDArray[Any]:
    """What the module itself gives for a frame of numbers."""
    numbers = np.asarray(frame, dtype=np.float32)
    if not _is_of(estimator, "torch"):
        return np.asarray(estimator(numbers))
    import torch

    _set_to_evaluate(estimator)
    with torch.no_grad():
        return np.asarray(estimator(torch.from_numpy(numbers)).detach().cpu().numpy())


def _set_to_evaluate(estimator: Any) -> None:
    """Switch off dropout and the like; what torch.export has saved cannot be switched."""
    with contextlib.suppress(NotImplementedError):
        estimator.eval()


def _torch_graph(estimator: Any, columns: int) -> bytes:
    import onnxscript  # noqa: F401 - torch needs it to write graphs
    import torch

    _set_to_evaluate(estimator)
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            estimator,
            (torch.zeros(2, columns),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            input_names=["numbers"],
            output_names=["output"],
            opset_version=_OPSET,
            verbose=False,
        )
    assert made is not None
    return bytes(made.model_proto.SerializeToString())


def _keras_graph(estimator: Any, columns: int) -> bytes:
    """By Keras' own exporter, which needs a model that was called once."""
    estimator(np.zeros((2, columns), dtype=np.float32))
    with tempfile.TemporaryDirectory() as folder, _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder, "model.onnx")
        estimator.export(str(file), format="onnx", verbose=False)
        return file.read_bytes()


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the exporters' notices off the console."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
