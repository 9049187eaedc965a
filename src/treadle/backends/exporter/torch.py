"""Turns PyTorch modules and Keras models into ONNX graphs."""

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.exporter.library import library_way
from treadle.backends.runtime.estimators import answers, is_of, module_answers, set_to_evaluate
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, missing_extra
from treadle.ports.runtime import Exported, Field, Signature, Way

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
        given = module_answers(estimator, example[:2])
        single = given.ndim == 1 or given.shape[1] == 1
        return Signature(inputs=fields, output="value" if single else "values")

    def ways(self, estimator: Any, signature: Signature) -> Sequence[Way]:
        """List the ways to package a module: a graph, else the module as it is.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
        """
        return [
            Way("ONNX", lambda: _exported(estimator, signature)),
            library_way(estimator, signature),
        ]

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return the module's own answers, in the signature's form.

        Args:
            estimator: The trained model.
            signature: The model's inputs and output.
            inputs: A frame of inputs.
        """
        return answers(estimator, signature, inputs)


def _exported(estimator: Any, signature: Signature) -> Exported:
    columns = len(signature.inputs)
    try:
        graph_of = _keras_graph if is_of(estimator, "keras") else _torch_graph
        content = graph_of(estimator, columns)
    except ModuleNotFoundError as error:
        raise missing_extra("torch", f"Packaging a module ({error.name} is missing)") from error
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise Invalid(f"{type(estimator).__name__} has no graph: {reason[:300]}") from error
    return Exported(content, replace(signature, runtime="onnx"))


def _torch_graph(estimator: Any, columns: int) -> bytes:
    import onnxscript  # noqa: F401 - torch needs it to write graphs
    import torch

    set_to_evaluate(estimator)
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
