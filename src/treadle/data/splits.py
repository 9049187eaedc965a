"""Which rows of a table are held out: the same ones in every version of the table."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from treadle.data.frames import plain
from treadle.kernel.errors import Invalid, did_you_mean

_DRAWS = 1 << 32
Split = Literal["holdout", "training", "validation"]
"""Which rows ``held_out`` chooses: ``holdout`` as ever; in a trial of tuning ``training`` chooses
the holdout and the validation rows, neither of which a trial learns from, and ``validation`` the
validation rows alone, which it is judged on."""


@dataclass
class Splitting:
    """How rows are chosen for as long as a block lasts.

    Attributes:
        split: Which rows are chosen.
        used: Whether any were.
    """

    split: Split
    used: bool = False


_now: Splitting | None = None


@contextmanager
def splitting(split: Split) -> Iterator[Splitting]:
    """Let ``held_out`` choose other rows for as long as the block lasts, in all threads.

    A step may start threads of its own; a process does one step at a time.

    Args:
        split: Which rows it chooses.
    """
    global _now
    before, _now = _now, Splitting(split)
    try:
        yield _now
    finally:
        _now = before


def held_out(table: Any, by: str | None = None, share: float = 0.25) -> NDArray[np.bool_]:
    """Choose rows to judge models on, which no training sees.

    A row is chosen by what names it, and not by its place: it stays held out when rows are added or
    taken away, so that no later model is judged on what an earlier one has learnt. Rows of one name
    are on the same side, such as all visits of a patient. In trials of tuning, rows to judge on are
    chosen among those that are not held out: the holdout stays unseen.

    Args:
        table: Frame of pandas or Polars, of shape (rows, columns).
        by: Column that names a row or the group that it belongs to; None takes all columns
            together.
        share: Share of names that are held out, 0 to 1.

    Returns:
        Array of shape (rows,), true for rows that are held out.

    Raises:
        Invalid: There is no such column, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise Invalid(f"A share of {share:g} is not between 0 and 1.")
    names = [str(name) for name in table.columns]
    if by is not None and by not in names:
        raise Invalid(f"The table has no column '{by}'.{did_you_mean(by, names)}")
    texts = [_texts(plain(table[name])) for name in ([by] if by is not None else names)]
    limit = int(share * _DRAWS)
    now = _now or Splitting("holdout")
    now.used = True
    first, last = 0, limit
    if now.split != "holdout":
        last = limit + int(share * (_DRAWS - limit))
        first = limit if now.split == "validation" else 0
    drawn = (_draw("\x1f".join(row)) for row in zip(*texts, strict=True))
    return np.fromiter((first <= draw < last for draw in drawn), np.bool_, len(table))


def _texts(values: NDArray[Any]) -> list[str]:
    """Values as texts that do not tell a whole number from the same number with a point."""
    if values.dtype == object:
        return ["" if value is None else str(value) for value in values]
    return [format(value, ".17g") for value in values.astype(np.float64)]


def _draw(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")
