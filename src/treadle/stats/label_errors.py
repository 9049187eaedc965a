"""Finds labels that are probably wrong by confident learning."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.errors import Invalid
from treadle.stats.metrics import Array

BATCH_ROWS = 1 << 16


class LabelErrors(NamedTuple):
    """Labels that are probably wrong, the likeliest error first.

    Attributes:
        row: Positions of the rows (errors,).
        suggested: Positions of the classes that the model prefers (errors,).
        margin: Probability of the suggested class less that of the given one (errors,), above 0.
        joint: Estimated number of rows with the given label (first axis) whose true class is that
            of the second axis, of shape (classes, classes).
    """

    row: NDArray[np.int64]
    suggested: NDArray[np.int64]
    margin: NDArray[np.float64]
    joint: NDArray[np.float64]


def find_label_errors(labels: Array, probabilities: Array) -> LabelErrors:
    """Find labels that a model contradicts more than it contradicts others of the class.

    Confident learning (Northcutt, Jiang and Chuang 2021), pruned by class. A row counts as of a
    class when its probability reaches the class's mean self-confidence; the counts, scaled to the
    number of rows of each label, say how many of them are of another class. Of each label as many
    rows are taken as were counted, those with the largest margin; a row whose label is the model's
    likeliest class is never taken. Pruning by noise rate would need a whole number for each two
    classes, and most of these numbers are near 1: their rounding costs recall.

    The probabilities are read three times, batch by batch; a memory-mapped array stays on the disk.

    Args:
        labels: Positions of the given classes (rows,).
        probabilities: Probabilities of shape (rows, classes), of a model that has not learnt from
            the row itself: out of fold.

    Raises:
        Invalid: Labels and probabilities differ in their number, a label is no position of a
            class, or a probability is not finite.
    """
    given = np.asarray(labels, dtype=np.int64)
    rows, classes = probabilities.shape
    if len(given) != rows:
        raise Invalid(f"There are {len(given)} labels and {rows} rows of probabilities.")
    if rows and not 0 <= int(given.min()) <= int(given.max()) < classes:
        raise Invalid(f"Labels are positions from 0 to {classes - 1}.")
    joint = _joint(given, probabilities, _thresholds(given, probabilities))
    wrong = np.rint(joint.sum(axis=1) - np.diag(joint)).astype(np.int64)
    kept = _largest_margins(given, probabilities, wrong)
    row, suggested, margin = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.lexsort((row, -margin))
    return LabelErrors(row[order], suggested[order], margin[order], joint)


def _batches(given: Array, probabilities: Array) -> Iterator[tuple[int, Array, Array]]:
    """The first row of each batch, with the labels and a copy of the probabilities of its rows."""
    for start in range(0, len(given), BATCH_ROWS):
        batch = np.array(probabilities[start : start + BATCH_ROWS], dtype=np.float64)
        if not np.isfinite(batch).all():
            raise Invalid("A probability is not finite. Leave such rows out.")
        yield start, given[start : start + BATCH_ROWS], batch


def _thresholds(given: Array, probabilities: Array) -> Array:
    """The mean self-confidence of each class; above 1, which nothing reaches, without rows."""
    classes = probabilities.shape[1]
    total, count = np.zeros(classes), np.bincount(given, minlength=classes)
    for _, labels, batch in _batches(given, probabilities):
        own = batch[np.arange(len(batch)), labels]
        total += np.bincount(labels, weights=own, minlength=classes)
    return np.asarray(np.divide(total, count, out=np.full(classes, 2.0), where=count > 0))


def _joint(given: Array, probabilities: Array, thresholds: Array) -> NDArray[np.float64]:
    """Rows by given and true class, scaled so that each given class has as many as it has."""
    classes = len(thresholds)
    cells = np.zeros(classes**2)
    for _, labels, batch in _batches(given, probabilities):
        reached = batch >= thresholds
        sure = reached.any(axis=1)
        true = np.where(reached, batch, -1.0).argmax(axis=1)[sure]
        cells += np.bincount(labels[sure] * classes + true, minlength=classes**2)
    joint = cells.reshape(classes, classes)
    count, sums = np.bincount(given, minlength=classes)[:, None], joint.sum(axis=1, keepdims=True)
    scaled = np.divide(joint * count, sums, out=np.zeros_like(joint), where=sums > 0)
    return np.asarray(scaled)


def _largest_margins(
    given: Array, probabilities: Array, wrong: Array
) -> list[tuple[Array, Array, Array]]:
    """For each label the rows with the largest margins: rows, suggested classes, margins."""
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    kept = [nothing for _ in wrong]
    for start, labels, batch in _batches(given, probabilities):
        place = np.arange(len(batch))
        own = batch[place, labels]
        batch[place, labels] = -1.0
        likeliest = batch.argmax(axis=1)
        margin = batch[place, likeliest] - own
        for label in np.flatnonzero(wrong):
            of_label = np.flatnonzero((labels == label) & (margin > 0))
            found = (of_label + start, likeliest[of_label], margin[of_label])
            merged = [np.concatenate(parts) for parts in zip(kept[label], found, strict=True)]
            best = np.argsort(-merged[2], kind="stable")[: wrong[label]]
            kept[label] = (merged[0][best], merged[1][best], merged[2][best])
    return [*kept, nothing]
