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

    Confident learning (Northcutt, Jiang and Chuang 2021), pruned by noise rate. A row counts as of
    a class when its probability reaches the class's mean self-confidence; the counts, scaled to
    the number of rows of each label, say how many of them are of another class. Of these as many
    are taken as were counted, those with the largest margin; a row whose label is the model's
    likeliest class is never taken.

    The probabilities are read twice, batch by batch; a memory-mapped array stays on the disk.

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
    kept = _largest_margins(given, probabilities, np.rint(joint).astype(np.int64))
    row, suggested, margin = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    order = np.lexsort((row, -margin))
    first = np.unique(row[order], return_index=True)[1]  # a row may contradict two classes
    order = order[np.sort(first)]
    return LabelErrors(row[order], suggested[order], margin[order], joint)


def _batches(given: Array, probabilities: Array) -> Iterator[tuple[int, Array, Array]]:
    """The first row of each batch, with the labels and the probabilities of its rows."""
    for start in range(0, len(given), BATCH_ROWS):
        batch = np.asarray(probabilities[start : start + BATCH_ROWS], dtype=np.float64)
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
    return np.divide(total, count, out=np.full(classes, 2.0), where=count > 0)


def _joint(given: Array, probabilities: Array, thresholds: Array) -> NDArray[np.float64]:
    """Rows by given and true class, scaled so that each given class has as many as it has."""
    classes = len(thresholds)
    joint = np.zeros(classes**2)
    for _, labels, batch in _batches(given, probabilities):
        reached = batch >= thresholds
        sure = reached.any(axis=1)
        true = np.where(reached, batch, -1.0).argmax(axis=1)[sure]
        joint += np.bincount(labels[sure] * classes + true, minlength=classes**2)
    joint = joint.reshape(classes, classes)
    count, sums = np.bincount(given, minlength=classes)[:, None], joint.sum(axis=1, keepdims=True)
    scaled = np.divide(joint * count, sums, out=np.zeros_like(joint), where=sums > 0)
    return np.asarray(scaled)


def _largest_margins(
    given: Array, probabilities: Array, wanted: Array
) -> list[tuple[Array, Array, Array]]:
    """For each two classes the rows with the largest margins: rows, suggested classes, margins."""
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    others = {
        label: [other for other in np.flatnonzero(row).tolist() if other != label]
        for label, row in enumerate(wanted)
    }
    kept = {(label, other): nothing for label in others for other in others[label]}
    for start, labels, batch in _batches(given, probabilities):
        contradicted = batch.argmax(axis=1) != labels
        for label in others:
            own = np.flatnonzero((labels == label) & contradicted)
            for other in others[label]:
                rows, _, margins = kept[label, other]
                rows = np.concatenate([rows, own + start])
                margins = np.concatenate([margins, batch[own, other] - batch[own, label]])
                best = np.argsort(-margins, kind="stable")[: wanted[label, other]]
                best = best[margins[best] > 0]
                kept[label, other] = (rows[best], np.full(len(best), other), margins[best])
    return [*kept.values(), nothing]
