"""Labels that several labellers gave to the same items, as positions: the input of statistics."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Votes(NamedTuple):
    """Labels of items by labellers; each of the first three arrays has the shape (votes,).

    Not everybody has labelled everything: a missing label is a vote that is not there.

    Attributes:
        item: Positions of the items, below ``items``.
        labeller: Positions of the labellers, below ``labellers``.
        label: Positions of the classes, below ``classes``.
        items: Number of items.
        labellers: Number of labellers.
        classes: Number of classes.
    """

    item: NDArray[np.int64]
    labeller: NDArray[np.int64]
    label: NDArray[np.int64]
    items: int
    labellers: int
    classes: int

    def by_item(self) -> NDArray[np.int64]:
        """How many votes each item has for each class, of shape (items, classes)."""
        size = self.items * self.classes
        counted = np.bincount(self.item * self.classes + self.label, minlength=size)
        return np.asarray(counted.reshape(self.items, self.classes), dtype=np.int64)


def votes_of(table: NDArray[np.int64], classes: int) -> Votes:
    """Make votes of a table of positions.

    Args:
        table: Positions of classes of shape (items, labellers); -1 where a label is missing.
        classes: Number of classes.
    """
    item, labeller = np.nonzero(table >= 0)
    items, labellers = table.shape
    label = np.asarray(table[item, labeller], dtype=np.int64)
    return Votes(item, labeller, label, items, labellers, classes)
