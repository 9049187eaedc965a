"""Turns PyTorch modules into ONNX graphs, and Keras models, which have an exporter of their own for each of their backends."""

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
    """A module that takes float32 (rows, columns) and gives (rows,) or (rows, outputs) becomes a graph that does."""

    def __init__(self, url: str = "torch:") -> None:
        self.url = url

    def describe(self, estimator: Any, example: Any) -> Signature:
        strange = [
            str(name)
            for name in example.columns
            if np.asarray(example[name]).dtype.kind not in "fiub"
        ]
        if strange:
            raise Invalid(
                f"A module takes numbers, and column '{strange[0]}' holds none. Encode it in the pipeline before it."
            )
        fields = [Field(name=str(name), kind="number") for name in example.columns]
        given = _asked(estimator, example[:2])
        return Signature(
            inputs=fields, output="value" if given.ndim == 1 or given.shape[1] == 1 else "values"
        )

    def export(self, estimator: Any, signature: Signature) -> Exported:
        columns = len(signature.inputs)
        try:
            content = (
                _keras_graph(estimator, columns)
                if _is_of(estimator, "keras")
                else _torch_graph(estimator, columns)
            )
        except ModuleNotFoundError as error:
            raise missing_extra("torch", f"Packaging a module ({error.name} is missing)") from error
        except Exception as error:
            said = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise Invalid(
                f"{type(estimator).__name__} cannot be packaged as ONNX: {said[0][:300]}"
            ) from error
        return Exported(content, replace(signature, runtime="onnx"))

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        given = _asked(estimator, inputs)
        if signature.output == "probability":
            return given[:, -1] if given.ndim == 2 else given
        return given.reshape(-1) if signature.output == "value" else given


def _is_of(estimator: Any, library: str) -> bool:
    return any(kind.__module__.partition(".")[0] == library for kind in type(estimator).__mro__)


def _asked(estimator: Any, frame: Any) -> NDArray[Any]:
    """What the module itself gives for a frame of numbers."""
    numbers = np.asarray(frame, dtype=np.float32)
    if not _is_of(estimator, "torch"):
        return np.asarray(estimator(numbers))
    import torch

    _evaluating(estimator)
    with torch.no_grad():
        return np.asarray(estimator(torch.from_numpy(numbers)).detach().cpu().numpy())


def _evaluating(estimator: Any) -> None:
    """Without dropout and the like; what torch.export has saved is as it was exported, and cannot be changed."""
    with contextlib.suppress(NotImplementedError):
        estimator.eval()


def _torch_graph(estimator: Any, columns: int) -> bytes:
    import onnxscript  # noqa: F401 - what torch writes graphs with
    import torch

    _evaluating(estimator)
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
    """By Keras' own exporter."""
    estimator(np.zeros((2, columns), dtype=np.float32))  # it exports what was called
    with tempfile.TemporaryDirectory() as folder, _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder, "model.onnx")
        estimator.export(str(file), format="onnx", verbose=False)
        return file.read_bytes()


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporters' talk of what they do not need."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
