"""How far labellers agree beyond chance: kappas, Krippendorff's alpha, agreement by class.

Classes are positions. Counts of an item's labels by class have the shape (items, classes).
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid, did_you_mean
from treadle.stats.metrics import Array
from treadle.stats.votes import Votes

Weights = Literal["linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval", "ratio"]
"""What distances between labels mean: none, their order, their difference, their proportion."""


class PairAgreement(NamedTuple):
    """How far two labellers agree on the items that both have labelled.

    Attributes:
        first: Position of one labeller.
        second: Position of the other, a later one.
        items: Number of items that both have labelled.
        agreement: Share of these items that have the same label from both.
        kappa: Cohen's kappa; NaN where both gave one and the same label to all of them.
    """

    first: int
    second: int
    items: int
    agreement: float
    kappa: float


def cohen_kappa(table: Array, weights: Weights | None = None) -> float:
    """Agreement of two labellers beyond chance, by Cohen (1960); weighted, by Cohen (1968).

    Args:
        table: How many items the first labeller put into the class of the row and the second into
            that of the column, of shape (classes, classes).
        weights: How bad a disagreement is: ``linear`` in the distance of the two positions, or
            ``quadratic``; None takes every disagreement as equally bad.

    Returns:
        1 for perfect agreement, 0 for that of chance; NaN without items, or where chance alone
        explains everything, as when only one class occurs.

    Raises:
        Invalid: The table is not square, or there are no such weights.
    """
    observed = np.asarray(table, dtype=np.float64)
    if observed.ndim != 2 or observed.shape[0] != observed.shape[1]:
        raise Invalid(f"Cohen's kappa needs a square table of classes, not {observed.shape}.")
    cost = _cost(len(observed), weights)
    total = observed.sum()
    if not total:
        return float("nan")
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0)) / total
    by_chance = float((cost * expected).sum())
    return 1 - float((cost * observed).sum()) / by_chance if by_chance else float("nan")


def fleiss_kappa(counts: Array) -> float:
    """Agreement of equally many labellers per item beyond chance, by Fleiss (1971).

    Args:
        counts: Labels of each item by class, of shape (items, classes).

    Returns:
        1 for perfect agreement, 0 for that of chance; NaN without items, or where only one class
        occurs.

    Raises:
        Invalid: Items differ in how many labels they have, or have fewer than two.
    """
    counted = np.asarray(counts, dtype=np.float64)
    if not len(counted):
        return float("nan")
    labels = counted.sum(axis=1)
    if labels.min() != labels.max() or labels[0] < 2:
        raise Invalid(
            "Fleiss' kappa needs the same number of labels, two or more, for each item; there are "
            f"from {labels.min():g} to {labels.max():g}. Use Krippendorff's alpha."
        )
    agreement = float(np.mean((counted * (counted - 1)).sum(axis=1) / (labels * (labels - 1))))
    by_chance = float(np.sum((counted.sum(axis=0) / counted.sum()) ** 2))
    return (agreement - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def krippendorff_alpha(
    counts: Array, level: Level = "nominal", values: Array | None = None
) -> float:
    """Agreement of any number of labellers beyond chance, some labels missing.

    Computed from the matrix of coincidences (Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability"). Items with fewer than two labels have no part in it.

    Args:
        counts: Labels of each item by class, of shape (items, classes). For levels above nominal
            the classes are in ascending order.
        level: The level of measurement, which says how far two labels are apart.
        values: Number that each class stands for (classes,), for ``interval`` and ``ratio``; None
            takes 1, 2, 3 and so on.

    Returns:
        1 for perfect agreement, 0 for that of chance; NaN where no item has two labels, or where
        only one class occurs.

    Raises:
        Invalid: There is no such level, or values of a ratio are negative.
    """
    counted = np.asarray(counts, dtype=np.float64)
    counted = counted[counted.sum(axis=1) >= 2]
    if not len(counted):
        return float("nan")
    shared = counted / (counted.sum(axis=1, keepdims=True) - 1)
    coincidences = counted.T @ shared - np.diag(shared.sum(axis=0))
    totals = coincidences.sum(axis=1)
    distance = _distances(level, totals, values)
    by_chance = float(totals @ distance @ totals) / (totals.sum() - 1)
    return 1 - float((coincidences * distance).sum()) / by_chance if by_chance else float("nan")


def observed_agreement(counts: Array) -> float:
    """Share of pairs of labels of the same item that are equal.

    Args:
        counts: Labels of each item by class, of shape (items, classes).

    Returns:
        A number from 0 to 1, or NaN where no item has two labels.
    """
    counted = np.asarray(counts, dtype=np.float64)
    labels = counted.sum(axis=1)
    pairs = float((labels * (labels - 1)).sum())
    return float((counted * (counted - 1)).sum()) / pairs if pairs else float("nan")


def agreement_by_class(counts: Array) -> NDArray[np.float64]:
    """For each class: when one labeller has chosen it, the share of others who chose it as well.

    The specific agreement of Dice (1945), over all pairs of labels of an item as in Fleiss (1971).

    Args:
        counts: Labels of each item by class, of shape (items, classes).

    Returns:
        Shares (classes,); NaN for a class that no item with two labels has.
    """
    counted = np.asarray(counts, dtype=np.float64)
    others = np.maximum(counted.sum(axis=1, keepdims=True) - 1, 0)
    equal, all_pairs = (counted * (counted - 1)).sum(axis=0), (counted * others).sum(axis=0)
    shares = np.full(counted.shape[1], np.nan)
    return np.asarray(np.divide(equal, all_pairs, out=shares, where=all_pairs > 0))


def pairwise_agreement(votes: Votes, weights: Weights | None = None) -> Iterator[PairAgreement]:
    """Compare each two labellers on the items that both have labelled.

    Args:
        votes: The labels; of two by one labeller for one item the later counts.
        weights: As in ``cohen_kappa``.

    Yields:
        One comparison for each two labellers with an item in common, in the order of labellers.

    Raises:
        Invalid: There are no such weights.
    """
    by_labeller = np.argsort(votes.labeller, kind="stable")
    ends = np.cumsum(np.bincount(votes.labeller, minlength=votes.labellers))
    size = votes.classes**2
    for first in range(votes.labellers - 1):
        start = int(ends[first - 1]) if first else 0
        own, later = by_labeller[start : ends[first]], by_labeller[ends[first] :]
        label = np.full(votes.items, -1)
        label[votes.item[own]] = votes.label[own]
        common = later[label[votes.item[later]] >= 0]
        pair = label[votes.item[common]] * votes.classes + votes.label[common]
        cell = (votes.labeller[common] - first - 1) * size + pair
        tables = np.bincount(cell, minlength=(votes.labellers - first - 1) * size)
        tables = tables.reshape(-1, votes.classes, votes.classes)
        for second, table in enumerate(tables, first + 1):
            if items := int(table.sum()):
                share = float(np.trace(table)) / items
                yield PairAgreement(first, second, items, share, cohen_kappa(table, weights))


def _cost(classes: int, weights: str | None) -> Array:
    """What a disagreement of two classes counts, of shape (classes, classes)."""
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes))).astype(np.float64)
    if weights is None:
        return (apart > 0).astype(np.float64)
    if weights not in get_args(Weights):
        known = did_you_mean(weights, get_args(Weights))
        raise Invalid(f"There are no weights '{weights}'.{known}")
    return apart if weights == "linear" else apart**2


def _distances(level: str, totals: Array, values: Array | None) -> Array:
    """Squared distances of classes at a level of measurement, of shape (classes, classes)."""
    if level == "nominal":
        return 1 - np.eye(len(totals))
    if level == "ordinal":
        middle = np.cumsum(totals) - totals / 2
        return np.asarray(np.subtract.outer(middle, middle) ** 2)
    number = np.arange(1.0, len(totals) + 1) if values is None else np.asarray(values, float)
    apart = np.subtract.outer(number, number)
    if level == "interval":
        return np.asarray(apart**2)
    if level != "ratio":
        known = did_you_mean(level, get_args(Level))
        raise Invalid(f"There is no level of measurement '{level}'.{known}")
    if (number < 0).any():
        raise Invalid(f"A ratio has no negative values, such as {number.min():g}. Use 'interval'.")
    sums = np.add.outer(number, number)
    proportion = np.divide(apart, sums, out=np.zeros_like(apart), where=sums > 0)
    return np.asarray(proportion**2)
