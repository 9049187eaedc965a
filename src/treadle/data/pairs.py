"""Counts a column of two tables over the same cells, chosen from both tables as one."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.columns import Holds, NumberCounts, SourceColumn, Summary
from treadle.data.profile import BINS, CATEGORIES, MISSING, OTHER, ColumnProfile
from treadle.kernel.errors import Invalid
from treadle.stats.distances import kolmogorov_smirnov, wasserstein_between

Kind = Literal["number", "date", "category", "text", "empty"]
"""What a column is compared as; text has too many values for its categories to hold most rows."""
FINE = 200
"""Bins of numbers that distances are measured over; each value is one where there are no more."""
MIN_ROWS_A_CELL = 5
"""Rows of the smaller table that a cell of numbers is made for, on average."""


class Pair(NamedTuple):
    """A column of two tables, counted over the same cells.

    Attributes:
        kind: What it is compared as.
        cells: What each cell holds, in words.
        first: Rows of the first table by cell.
        second: Rows of the second table by cell.
        ordered: How many of the cells, from the first, have an order.
        distances: Distances that need more than these cells, by name.
    """

    kind: Kind
    cells: list[str]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    ordered: int
    distances: dict[str, float]


def count_pair(first: SourceColumn, second: SourceColumn) -> Pair:
    """Count a column of two tables.

    Args:
        first: The column of one table.
        second: The same column of the other.

    Raises:
        Invalid: One holds numbers and the other texts, or the like.
    """
    holds = _common(first.holds, second.holds)
    if holds == "nothing":
        before, now = (np.array([sum(one.labels([OTHER, MISSING]))]) for one in (first, second))
        return Pair("empty", [MISSING], before, now, 0, {})
    first, second = (_Nothing(one) if one.holds == "nothing" else one for one in (first, second))
    return _labels(first, second) if holds == "text" else _numbers(first, second, holds)


def pair_of_profiles(first: ColumnProfile, second: ColumnProfile) -> Pair:
    """Compare counts that were made before.

    Args:
        first: Counts of one table.
        second: Counts of the other.

    Raises:
        Invalid: They are counts over different bins.
    """
    if (first.edges, first.labels) != (second.edges, second.labels):
        raise Invalid(
            "the counts are over different bins. Count both over those of one profile, with "
            "profile.count(values)"
        )
    return pair_of_counts(first.counts, second.counts, first.edges, first.labels)


def pair_of_counts(
    first: Sequence[int], second: Sequence[int], edges: Sequence[float], labels: Sequence[str]
) -> Pair:
    """Pair counts over the bins of a profile.

    Args:
        first: Counts of one table.
        second: Counts of the other.
        edges: Edges between the bins of numbers, after which missing ones are counted.
        labels: Labels of text; empty for numbers.
    """
    counts = [np.array(one, dtype=np.int64) for one in (first, second)]
    if labels:
        return Pair("category", list(labels), counts[0], counts[1], 0, {})
    cells = _cells(np.array(edges), "number")
    return Pair("number", cells, counts[0], counts[1], len(edges) + 1, {})


def edges_of(summaries: Sequence[Summary], bins: int) -> NDArray[np.float64]:
    """Choose edges so that bins hold about equally many rows.

    A value that alone holds a bin's share has a bin of its own. Where there are no more distinct
    values than bins, each is a bin.

    Args:
        summaries: Summaries of numbers; all count as one table.
        bins: About how many bins there shall be.
    """
    values = np.concatenate([one.values.astype(np.float64) for one in summaries])
    weights = np.concatenate([one.weights for one in summaries])
    distinct, places = np.unique(values, return_inverse=True)
    held = np.bincount(places, weights=weights, minlength=len(distinct))
    return distinct[_starts(held, bins)[1:]]


def _starts(held: NDArray[Any], bins: int) -> list[int]:
    """Where groups of neighbours begin that hold about equally many rows."""
    if len(held) <= bins:
        return list(range(len(held)))
    share = held.sum() / bins
    heavy = held >= share
    before = np.cumsum(held) - held
    number = np.floor((before + held / 2) / share)  # by its middle, so that none is far too full
    begins = np.ones(len(held), dtype=bool)
    begins[1:] = (number[1:] != number[:-1]) | heavy[1:] | heavy[:-1]
    return np.flatnonzero(begins).tolist()


def _numbers(first: SourceColumn, second: SourceColumn, holds: Holds) -> Pair:
    edges = edges_of([first.summary(), second.summary()], FINE)
    counted = first.numbers(edges), second.numbers(edges)
    before, now = (one.counts for one in counted)
    smaller = min(before.sum(), now.sum())
    bins = int(min(BINS, max(2, smaller // MIN_ROWS_A_CELL)))
    starts = _starts((before + now)[:-1], bins)
    grouped = [np.append(np.add.reduceat(one[:-1], starts), one[-1]) for one in (before, now)]
    kinds: dict[Holds, Kind] = {"time": "date", "boolean": "category"}
    is_empty = not (before + now)[:-1].any()
    return Pair(
        "empty" if is_empty else kinds.get(holds, "number"),
        _cells(edges[np.array(starts[1:], dtype=int) - 1], holds),
        grouped[0],
        grouped[1],
        len(starts),
        {} if holds == "boolean" else _distances(edges, *counted),
    )


def _distances(
    edges: NDArray[np.float64], first: NumberCounts, second: NumberCounts
) -> dict[str, float]:
    """Distances of distribution functions over the fine bins; none where a side has no numbers."""
    before, now = first.counts[:-1], second.counts[:-1]
    if not before.sum() or not now.sum():
        return {}
    found = {"kolmogorov_smirnov": kolmogorov_smirnov(before, now)}
    tails = sum(
        abs(one / before.sum() - other / now.sum())
        for one, other in ((first.below, second.below), (first.above, second.above))
    )
    apart = wasserstein_between(edges, before, now) + float(tails)
    std = first.std if first.std > 0 else second.std
    if math.isfinite(apart) and math.isfinite(std) and (std > 0 or apart == 0):
        found["wasserstein"] = float(apart / std) if std > 0 else 0.0
    return found


def _labels(first: SourceColumn, second: SourceColumn) -> Pair:
    rows: dict[str, float] = {}
    for side in (first.summary(), second.summary()):
        for value, weight in zip(side.values, side.weights, strict=True):
            rows[value] = rows.get(value, 0.0) + weight
    named = sorted(
        (text for text in rows if text not in (OTHER, MISSING)),
        key=lambda text: (-rows[text], text),
    )
    labels = [*sorted(named[:CATEGORIES]), OTHER, MISSING]
    counts = [np.array(side.labels(labels), dtype=np.int64) for side in (first, second)]
    of_others = sum(int(one[-2]) for one in counts)
    present = sum(int(one[:-1].sum()) for one in counts)
    kind: Kind = "text" if 2 * of_others > present else "category"
    return Pair(kind, labels, counts[0], counts[1], 0, {})


def _cells(edges: NDArray[np.float64], holds: Holds) -> list[str]:
    if holds == "boolean":
        inner = ["false", "true"] if len(edges) else ["false or true"]
        return [*inner, MISSING]
    shown = [_moment(edge) if holds == "time" else f"{edge:.6g}" for edge in edges.tolist()]
    if not shown:
        return ["any", MISSING]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    return [f"below {shown[0]}", *between, f"{shown[-1]} and above", MISSING]


def _moment(micros: float) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros / 1e6:.0f} s since 1970"
    return (
        moment.isoformat(sep=" ", timespec="seconds")
        .removesuffix("+00:00")
        .removesuffix(" 00:00:00")
    )


def _common(first: Holds, second: Holds) -> Holds:
    """What both sides hold; a side with nothing fits any other, and booleans are numbers."""
    held = {first, second} - {"nothing"}
    if held == {"number", "boolean"}:
        return "number"
    if len(held) > 1:
        raise Invalid(f"it holds {_words(first)} in the reference and {_words(second)} now")
    return held.pop() if held else "nothing"


def _words(holds: Holds) -> str:
    words: dict[Holds, str] = {"number": "numbers", "time": "times", "boolean": "booleans"}
    return words.get(holds, "text")


class _Nothing:
    """A column without any value, beside one of whatever kind."""

    holds: Holds = "nothing"

    def __init__(self, column: SourceColumn) -> None:
        self._rows = sum(column.labels([OTHER, MISSING]))

    def summary(self) -> Summary:
        return Summary(np.empty(0), np.empty(0))

    def numbers(self, edges: NDArray[np.float64]) -> NumberCounts:
        counts = np.zeros(len(edges) + 2, dtype=np.int64)
        counts[-1] = self._rows
        return NumberCounts(counts, 0.0, 0.0, math.nan)

    def labels(self, labels: Sequence[str]) -> list[int]:
        return [self._rows if label == MISSING else 0 for label in labels]
