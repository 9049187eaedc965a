"""The ports that convert trained estimators to model files and load model files for prediction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.entity import Entity, from_json

GRAPH, SIGNATURE = "model.onnx", "signature.json"
FILES = {"onnx": GRAPH, "skops": "model.skops", "library": "model.pickle", "python": "code"}
"""Name of what a runtime loads from the model folder, by the runtime's name."""

Precision = Literal["float32", "float64"]


class Field(Entity):
    """A field of the rows that a model takes.

    Attributes:
        name: Name of the field.
        kind: Whether the field holds numbers or text.
    """

    name: str
    kind: Literal["number", "text"]


class Layout:
    """The position of each field of a row in two matrices, one of numbers and one of texts.

    Args:
        fields: Fields of a row; both matrices keep their order.
        precision: Type of the numbers.

    Attributes:
        dtype: Type of the numbers.
        numbers: Names of the numeric fields, in the order of their columns.
        texts: Names of the text fields, in the order of their columns.
        places: Index of each field's column within its matrix, by name.
    """

    def __init__(self, fields: Sequence[Field], precision: Precision = "float32") -> None:
        self.dtype: np.dtype[Any] = np.dtype(precision)
        self.numbers = [field.name for field in fields if field.kind == "number"]
        self.texts = [field.name for field in fields if field.kind == "text"]
        self.places = {
            name: index for names in (self.numbers, self.texts) for index, name in enumerate(names)
        }


class Columns(Mapping[str, NDArray[Any]]):
    """Rows as a model takes them: a mapping of a field's name to an array of shape (rows,).

    The rows lie in two matrices, which a model may also take whole.

    Args:
        layout: Position of each field.
        numbers: Matrix (rows, numeric fields) of the layout's type, with NaN where a value is
            missing.
        texts: Matrix (rows, text fields) of objects, each a ``str``.
    """

    __slots__ = ("layout", "numbers", "texts")

    def __init__(self, layout: Layout, numbers: NDArray[Any], texts: NDArray[Any]) -> None:
        self.layout, self.numbers, self.texts = layout, numbers, texts

    @classmethod
    def of(cls, layout: Layout, table: Mapping[str, NDArray[Any]]) -> "Columns":
        """Take the fields of a model from a table.

        Args:
            layout: Where the model takes each field.
            table: Columns by name, each of shape (rows,): numbers of any precision; text with None
                or '' where missing.
        """
        rows = len(next(iter(table.values()))) if table else 0
        numbers = np.empty((rows, len(layout.numbers)), dtype=layout.dtype)
        texts = np.empty((rows, len(layout.texts)), dtype=object)
        for index, name in enumerate(layout.numbers):
            numbers[:, index] = table[name]
        for index, name in enumerate(layout.texts):
            texts[:, index] = [value or "" for value in table[name].tolist()]
        return cls(layout, numbers, texts)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.numbers)

    def part(self, rows: slice) -> "Columns":
        """Some of the rows.

        Args:
            rows: Which rows.
        """
        return Columns(self.layout, self.numbers[rows], self.texts[rows])

    def __getitem__(self, name: str) -> NDArray[Any]:
        index = self.layout.places[name]
        in_numbers = index < len(self.layout.numbers) and self.layout.numbers[index] == name
        return self.numbers[:, index] if in_numbers else self.texts[:, index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.places)

    def __len__(self) -> int:
        return len(self.layout.places)


class Signature(Entity):
    """What a model takes and gives.

    Attributes:
        inputs: Fields of a row.
        output: What an answer is: the probability of the positive class, one probability per class,
            one value, several values, or the score of an anomaly: the higher, the stranger is the
            row, and above 0 its detector calls it an anomaly.
        classes: Names of the classes, if the model has any.
        runtime: Name of the runtime that runs the model.
        precision: Type of the numbers that the model takes.
        note: Why the model is not packaged in the first way that there is; empty where it is.
    """

    inputs: list[Field]
    output: Literal["probability", "probabilities", "value", "values", "score"]
    classes: list[str] = []
    runtime: str = "onnx"
    precision: Precision = "float32"
    note: str = ""

    @property
    def layout(self) -> Layout:
        """The position of each input in the matrices that the model takes."""
        return Layout(self.inputs, self.precision)

    def columns(self, table: Mapping[str, NDArray[Any]]) -> Columns:
        """Take the model's inputs from a table.

        Args:
            table: Columns by name, each of shape (rows,).
        """
        return Columns.of(self.layout, table)

    @property
    def file(self) -> str:
        """Name of the model's file in its folder."""
        return FILES.get(self.runtime, GRAPH)


class LoadedModel(Protocol):
    """A model in memory, safe to call from several threads."""

    def predict(self, columns: Columns) -> NDArray[np.float32]:
        """Predict rows.

        Args:
            columns: Rows as the model takes them.

        Returns:
            Array of float32, of shape (rows,) or (rows, outputs).
        """


class Runtime(Protocol):
    """Loads model files.

    Loading executes no code from a file, except for a model that is trusted by name.
    """

    def load(self, file: Path, signature: Signature) -> LoadedModel:
        """Load a model file.

        Args:
            file: Path of the model file.
            signature: Signature of the model.
        """


class RuntimeByName(Protocol):
    """Gives the runtime for the models of a project or of a name."""

    def __call__(self, name: str) -> Runtime:
        """Give the runtime, which runs code only if the name is trusted.

        Args:
            name: Name of the project, or of the model.
        """


def open_model(folder: Path, runtime: "Runtime") -> tuple[Signature, LoadedModel]:
    """Open a model folder: the signature that it holds, and the model that the signature names.

    Args:
        folder: The model folder.
        runtime: Loads the model.

    Returns:
        The signature and the loaded model.
    """
    signature = from_json((folder / SIGNATURE).read_bytes(), Signature)
    return signature, runtime.load(folder / signature.file, signature)


class Exported(NamedTuple):
    """A converted model.

    Attributes:
        content: Content of the model file.
        signature: Signature, with the runtime that the file is for.
    """

    content: bytes
    signature: Signature


class Way(NamedTuple):
    """One of the ways to package an estimator.

    Attributes:
        name: What people call it, such as ``ONNX``.
        export: Converts the estimator; raises ``Invalid`` with the reason where it cannot.
    """

    name: str
    export: Callable[[], Exported]


class Exporter(Protocol):
    """Converts trained estimators to model files."""

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Read the signature of an estimator.

        Args:
            estimator: The trained estimator.
            example: Frame of input columns.

        Raises:
            Invalid: The estimator or a column is of a kind that cannot be converted.
        """

    def ways(self, estimator: Any, signature: Signature) -> Sequence[Way]:
        """List the ways to convert an estimator, the fastest and safest first.

        Args:
            estimator: The trained estimator.
            signature: Its signature.
        """

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Let the estimator itself predict, to compare the converted model with it.

        Args:
            estimator: The trained estimator.
            signature: Its signature.
            inputs: Frame of input columns.

        Returns:
            Array of shape (rows,) or (rows, outputs).
        """
