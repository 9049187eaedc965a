"""The rows of a request, as matrices of numbers and of texts."""

from typing import Any

from numpy.typing import NDArray

NONE_LACKING: frozenset[str] = frozenset()


class Rows:
    """The rows of a request.

    Args:
        numbers: The numeric inputs (rows, numbers); NaN stands for null.
        texts: The text inputs (rows, texts), as objects; None stands for null.
        lacks: The optional inputs that a row of the request does not have.
    """

    __slots__ = ("lacks", "numbers", "texts")

    def __init__(
        self, numbers: NDArray[Any], texts: NDArray[Any], lacks: frozenset[str] = NONE_LACKING
    ) -> None:
        self.numbers, self.texts, self.lacks = numbers, texts, lacks

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, rows: slice) -> "Rows":
        """Return some of the rows.

        Args:
            rows: Which rows.
        """
        return Rows(self.numbers[rows], self.texts[rows], self.lacks)
