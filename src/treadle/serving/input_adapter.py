"""Turns the rows of requests into a model's inputs."""

import numpy as np

from treadle.ports.runtime import Columns, Signature
from treadle.serving.row_reader import RowReader
from treadle.serving.rows import Rows


class InputAdapter:
    """Turns rows as a reader lays them out into a model's inputs, with "" for missing text.

    Args:
        reader: The reader.
        signature: The model's signature.

    Attributes:
        needs: The optional inputs that the model cannot do without.
    """

    def __init__(self, reader: RowReader, signature: Signature) -> None:
        self._layout = signature.layout
        self.needs = reader.optional & {field.name for field in signature.inputs}
        numbers, texts, given = self._layout.numbers, self._layout.texts, reader.layout
        same_numbers, same_texts = numbers == given.numbers, texts == given.texts
        self._numbers = None if same_numbers else [given.places[name] for name in numbers]
        self._texts = None if same_texts else [given.places[name] for name in texts]

    def __call__(self, rows: Rows) -> Columns:
        """The columns of rows, as the model takes them.

        Args:
            rows: What the reader read.

        Returns:
            Numbers in the model's precision, missing ones as NaN; missing texts are empty.
        """
        numbers = rows.numbers if self._numbers is None else rows.numbers[:, self._numbers]
        texts = rows.texts if self._texts is None else rows.texts[:, self._texts]
        if texts.size and (holes := texts == None).any():  # noqa: E711 - element by element
            texts = np.where(holes, "", texts)
        with np.errstate(over="ignore", invalid="ignore"):
            return Columns(self._layout, numbers.astype(self._layout.dtype, copy=False), texts)
