"""One label of each item out of the labels of several labellers, and how good each labeller is."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.stats.intervals import Estimate, share
from treadle.stats.metrics import Array
from treadle.stats.votes import Votes

_PSEUDO_COUNT = 0.01
_BATCH = 1 << 16


class Majority(NamedTuple):
    """The class that most labellers chose, for each item.

    Attributes:
        label: Positions of classes (items,); -1 for an item without a label.
        share: Share of the item's labels that are this class (items,); NaN without a label.
        tied: Whether another class has as many labels (items,).
    """

    label: NDArray[np.int64]
    share: NDArray[np.float64]
    tied: NDArray[np.bool_]


class DawidSkene(NamedTuple):
    """What the model of Dawid and Skene has found.

    Attributes:
        posterior: Probability of each class for each item, of shape (items, classes).
        confusion: Probability that a labeller (first axis) gives to an item of the true class
            (second axis) the label (third axis), of shape (labellers, classes, classes).
        prior: Share of each class among the items (classes,).
        log_likelihood: Penalised log-likelihood after each iteration; it never falls.
        converged: Whether the last iteration changed no probability by more than the tolerance.
    """

    posterior: NDArray[np.float64]
    confusion: NDArray[np.float64]
    prior: NDArray[np.float64]
    log_likelihood: tuple[float, ...]
    converged: bool


class AgainstOthers(NamedTuple):
    """How often a labeller gives the label that most of the others give.

    Attributes:
        labeller: Position of the labeller.
        items: Number of items that others have labelled as well, without a tie among them.
        ties: Number of items left out because the others tie.
        agreement: Share of ``items`` with the label of the others, with its 95 % interval.
    """

    labeller: int
    items: int
    ties: int
    agreement: Estimate


def majority(counts: Array) -> Majority:
    """Choose the class with most labels; of those that tie the first in the order of classes.

    Args:
        counts: Labels of each item by class, of shape (items, classes).
    """
    counted = np.asarray(counts)
    most, labels = counted.max(axis=1), counted.sum(axis=1)
    shares = np.full(len(counted), np.nan)
    return Majority(
        np.where(labels > 0, counted.argmax(axis=1), -1),
        np.divide(most, labels, out=shares, where=labels > 0),
        (counted == most[:, None]).sum(axis=1) > 1,
    )


def dawid_skene(votes: Votes, *, max_iterations: int = 1000, tolerance: float = 1e-5) -> DawidSkene:
    """Estimate the truth and each labeller's errors together, by EM (Dawid and Skene 1979).

    It begins with the shares of each item's labels and draws nothing at random. Each cell of a
    confusion matrix has a pseudo-count of 0.01, so that no label is impossible to a labeller who
    was not seen to give it. Memory is linear in votes, in items x classes and in
    labellers x classes².

    Args:
        votes: The labels; an item without one gets the prior.
        max_iterations: The most iterations.
        tolerance: The largest change of a probability at which it has converged.
    """
    counts = votes.by_item().astype(np.float64)
    labels = counts.sum(axis=1, keepdims=True)
    posterior = np.where(labels > 0, counts / np.maximum(labels, 1), 1 / votes.classes)
    history: list[float] = []
    change = np.inf
    while change > tolerance and len(history) < max_iterations:
        prior, confusion = _maximise(votes, posterior)
        new, log_likelihood = _expect(votes, prior, confusion)
        change = float(np.abs(new - posterior).max(initial=0))
        posterior = new
        history.append(log_likelihood)
    return DawidSkene(posterior, confusion, prior, tuple(history), change <= tolerance)


def entropy(probabilities: Array) -> NDArray[np.float64]:
    """Uncertainty about the class of each row, in bits (Shannon 1948).

    Args:
        probabilities: Probabilities of shape (rows, classes).

    Returns:
        Entropies (rows,), from 0 to log2(classes).
    """
    logs = np.log2(np.where(probabilities > 0, probabilities, 1))
    return np.asarray(np.maximum(-(probabilities * logs).sum(axis=1), 0.0))


def against_others(votes: Votes) -> Iterator[AgainstOthers]:
    """Measure each labeller against the majority of the others: the level of people.

    Args:
        votes: The labels, one of each labeller for an item.

    Yields:
        One measurement for each labeller, in order; its share is NaN where nobody else has
        labelled the same items.
    """
    counts = votes.by_item()
    agreed, judged, ties = (np.zeros(votes.labellers, dtype=np.int64) for _ in range(3))
    for start in range(0, len(votes.item), _BATCH):
        item, labeller, label = (part[start : start + _BATCH] for part in votes[:3])
        others = counts[item]
        others[np.arange(len(item)), label] -= 1
        chosen = majority(others)
        counted = (chosen.label >= 0) & ~chosen.tied
        judged += np.bincount(labeller[counted], minlength=votes.labellers)
        right = labeller[counted & (chosen.label == label)]
        agreed += np.bincount(right, minlength=votes.labellers)
        tied = labeller[(chosen.label >= 0) & chosen.tied]
        ties += np.bincount(tied, minlength=votes.labellers)
    for position, (hits, items, left) in enumerate(zip(agreed, judged, ties, strict=True)):
        yield AgainstOthers(position, int(items), int(left), share(int(hits), int(items)))


def _maximise(votes: Votes, posterior: Array) -> tuple[Array, Array]:
    """The shares of classes and the confusion matrices that the posterior makes likeliest."""
    size = votes.labellers * votes.classes
    cell = votes.labeller * votes.classes + votes.label
    confusion = np.empty((votes.labellers, votes.classes, votes.classes))
    for true in range(votes.classes):
        counted = np.bincount(cell, weights=posterior[votes.item, true], minlength=size)
        confusion[:, true, :] = counted.reshape(votes.labellers, votes.classes) + _PSEUDO_COUNT
    confusion /= confusion.sum(axis=2, keepdims=True)
    prior = posterior.sum(axis=0) + _PSEUDO_COUNT
    return prior / prior.sum(), confusion


def _expect(votes: Votes, prior: Array, confusion: Array) -> tuple[Array, float]:
    """The posterior of each item's class, and the penalised log-likelihood."""
    log_prior, log_confusion = np.log(prior), np.log(confusion)
    joint = np.empty((votes.items, votes.classes))
    for true in range(votes.classes):
        of_vote = log_confusion[votes.labeller, true, votes.label]
        of_item = np.bincount(votes.item, weights=of_vote, minlength=votes.items)
        joint[:, true] = log_prior[true] + of_item
    largest = joint.max(axis=1, keepdims=True)
    joint = np.exp(joint - largest)
    likelihood = joint.sum(axis=1, keepdims=True)
    penalty = _PSEUDO_COUNT * (float(log_prior.sum()) + float(log_confusion.sum()))
    return joint / likelihood, float((np.log(likelihood) + largest).sum()) + penalty
