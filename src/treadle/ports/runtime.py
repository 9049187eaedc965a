"""What turns a packaged model into answers, and a trained one into a package."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import Entity, from_json

GRAPH, SIGNATURE = "model.onnx", "signature.json"

Columns = Mapping[str, NDArray[Any]]
"""Column name → array of shape (rows,): float32 for numbers (NaN where missing), objects of ``str`` for text."""


class Field(Entity):
    name: str
    kind: Literal["number", "text"]


class Signature(Entity):
    """What a model takes and gives. ``output`` is a probability of the positive class, one per class, or a value."""

    inputs: list[Field]
    output: Literal["probability", "probabilities", "value"]
    classes: list[str] = []


class LoadedModel(Protocol):
    """A model in memory, safe to call from several threads. ``predict`` gives float32 (rows,) or (rows, classes)."""

    def predict(self, columns: Columns) -> NDArray[np.float32]: ...


class Runtime(Protocol):
    """Loads a model file with its signature. Loading executes no code from the file."""

    def load(self, file: Path, signature: Signature) -> LoadedModel: ...


def open_model(folder: Path, runtime: "Runtime") -> tuple[Signature, LoadedModel]:
    """Open a model folder: every one holds a graph and its signature under these names."""
    signature = from_json((folder / SIGNATURE).read_bytes(), Signature)
    return signature, runtime.load(folder / GRAPH, signature)


class Exporter(Protocol):
    """Turns a trained estimator into a model file. Raises Invalid when it cannot, saying which part stands in the way."""

    def export(self, estimator: Any, signature: Signature) -> bytes: ...

    def describe(self, estimator: Any, example: Any) -> Signature: ...
