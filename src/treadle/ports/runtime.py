"""What turns a packaged model into answers, and a trained one into a package."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import Entity, from_json

GRAPH, SIGNATURE = "model.onnx", "signature.json"
FILES = {"onnx": GRAPH, "skops": "model.skops", "python": "code"}
"""What a runtime loads, by its name in the model folder."""


class Field(Entity):
    name: str
    kind: Literal["number", "text"]


class Layout:
    """Where each field of a row lies: numbers side by side in one matrix, texts in another, both in the fields' order."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.numbers = [field.name for field in fields if field.kind == "number"]
        self.texts = [field.name for field in fields if field.kind == "text"]
        self.places = {
            name: place for names in (self.numbers, self.texts) for place, name in enumerate(names)
        }


class Columns(Mapping[str, NDArray[Any]]):
    """Rows as a model takes them: column name → array of shape (rows,).

    Beneath lie two matrices, which a model may take whole: ``numbers`` (rows, numeric fields) of float32 with NaN where
    missing, and ``texts`` (rows, text fields) of objects, each a ``str``.
    """

    __slots__ = ("layout", "numbers", "texts")

    def __init__(self, layout: Layout, numbers: NDArray[np.float32], texts: NDArray[Any]) -> None:
        self.layout, self.numbers, self.texts = layout, numbers, texts

    @classmethod
    def of(cls, fields: Sequence[Field], table: Mapping[str, NDArray[Any]]) -> "Columns":
        """A table's columns: numbers in any precision, text with None or '' where missing."""
        layout, rows = Layout(fields), len(next(iter(table.values()))) if table else 0
        numbers = np.empty((rows, len(layout.numbers)), dtype=np.float32)
        texts = np.empty((rows, len(layout.texts)), dtype=object)
        for place, name in enumerate(layout.numbers):
            numbers[:, place] = table[name]
        for place, name in enumerate(layout.texts):
            texts[:, place] = [value or "" for value in table[name].tolist()]
        return cls(layout, numbers, texts)

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def part(self, rows: slice) -> "Columns":
        """Some of the rows."""
        return Columns(self.layout, self.numbers[rows], self.texts[rows])

    def __getitem__(self, name: str) -> NDArray[Any]:
        place = self.layout.places[name]
        in_numbers = place < len(self.layout.numbers) and self.layout.numbers[place] == name
        return self.numbers[:, place] if in_numbers else self.texts[:, place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.places)

    def __len__(self) -> int:
        return len(self.layout.places)


class Signature(Entity):
    """What a model takes and gives. ``output`` is a probability of the positive class, one per class, a value, or several.

    ``runtime`` names what runs it.
    """

    inputs: list[Field]
    output: Literal["probability", "probabilities", "value", "values"]
    classes: list[str] = []
    runtime: str = "onnx"

    @property
    def file(self) -> str:
        """The model's place in its folder."""
        return FILES.get(self.runtime, GRAPH)


class LoadedModel(Protocol):
    """A model in memory, safe to call from several threads. ``predict`` gives float32 (rows,) or (rows, classes)."""

    def predict(self, columns: Columns) -> NDArray[np.float32]: ...


class Runtime(Protocol):
    """Loads a model file with its signature. Loading executes no code from the file, but of a model that is trusted by name."""

    def load(self, file: Path, signature: Signature) -> LoadedModel: ...


def open_model(folder: Path, runtime: "Runtime") -> tuple[Signature, LoadedModel]:
    """Open a model folder: every one holds a signature, and what that names."""
    signature = from_json((folder / SIGNATURE).read_bytes(), Signature)
    return signature, runtime.load(folder / signature.file, signature)


class Exported(NamedTuple):
    """The content of a model's file, and the signature with the runtime that it is for."""

    content: bytes
    signature: Signature


class Exporter(Protocol):
    """Turns a trained estimator into a model file. Raises Invalid when it cannot, saying which part stands in the way.

    ``describe`` reads the signature from an example frame, ``answer`` asks the estimator itself: (rows,) or (rows, outputs).
    """

    def describe(self, estimator: Any, example: Any) -> Signature: ...

    def export(self, estimator: Any, signature: Signature) -> Exported: ...

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]: ...
