"""Turns the rows of requests into a model's inputs."""

from collections.abc import Sequence

import numpy as np

from treadle.ports.runtime import Columns, Field, Layout
from treadle.serving.row_reader import RowReader
from treadle.serving.rows import Rows


class InputAdapter:
    """Turns rows as a reader lays them out into a model's inputs: float32, and "" for missing text.

    Args:
        reader: The reader.
        inputs: The inputs of the model's signature.

    Attributes:
        needs: The optional inputs that the model cannot do without.
    """

    def __init__(self, reader: RowReader, inputs: Sequence[Field]) -> None:
        self._layout = Layout(inputs)
        self.needs = reader.optional & {field.name for field in inputs}
        numbers, texts, given = self._layout.numbers, self._layout.texts, reader.layout
        same_numbers, same_texts = numbers == given.numbers, texts == given.texts
        self._numbers = None if same_numbers else [given.places[name] for name in numbers]
        self._texts = None if same_texts else [given.places[name] for name in texts]

    def __call__(self, rows: Rows) -> Columns:
        """The columns of rows, as the model takes them.

        Args:
            rows: What the reader read.

        Returns:
            Numbers as float32, missing ones as NaN; missing texts are empty.
        """
        numbers = rows.numbers if self._numbers is None else rows.numbers[:, self._numbers]
        texts = rows.texts if self._texts is None else rows.texts[:, self._texts]
        if texts.size and (holes := texts == None).any():  # noqa: E711 - element by element
            texts = np.where(holes, "", texts)
        with np.errstate(over="ignore", invalid="ignore"):
            return Columns(self._layout, numbers.astype(np.float32, copy=False), texts)
