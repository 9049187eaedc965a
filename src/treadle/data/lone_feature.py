"""Scores one feature alone: learnt on half of the rows, judged on the other."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.data.opened_table import Column, OpenTable

BINS = 256
"""Bins of a number; other values are bins themselves."""
CLASSES = 20
"""Different whole numbers of a label up to which they are classes."""


class Score(NamedTuple):
    """A score on the held-out half.

    Attributes:
        metric: ``AUC``, ``balanced accuracy`` or ``R²``.
        value: Its value; 1 is perfect.
    """

    metric: str
    value: float


def score_alone(table: OpenTable, feature: Column, label: Column) -> Score | None:
    """Judge a feature.

    Args:
        table: The table.
        feature: The feature.
        label: The label.

    Returns:
        None where one half has fewer than two values of the label.
    """
    classes = _classes(table, label)
    return _class_score(table, feature, label) if classes else _number_score(table, feature, label)


def _classes(table: OpenTable, label: Column) -> bool:
    if label.kind != "number":
        return True
    whole = f"bool_and({label.sql} = floor({label.sql}))"
    distinct, is_whole = table.one(
        f"SELECT count(DISTINCT {label.sql}), {whole} FROM {table.source}"
    )
    return distinct <= 2 or (bool(is_whole) and distinct <= CLASSES)


def _halves(table: OpenTable, feature: Column, label: str) -> str:
    """Rows with a label, in SQL: ``half`` (0 or 1), ``bin`` and ``y``."""
    rows = (
        f"SELECT hash(row_) % 2 AS half, b, y FROM (SELECT row_number() OVER () AS row_, "
        f"{feature.text if feature.kind == 'text' else feature.sql} AS b, {label} AS y "
        f"FROM {table.source}) WHERE y IS NOT NULL"
    )
    if feature.kind not in ("number", "time"):
        return f"SELECT half, CAST(b AS VARCHAR) AS bin, y FROM ({rows})"
    value = "epoch_us(b)" if feature.kind == "time" else "CAST(b AS DOUBLE)"
    shares = ", ".join(str(place / BINS) for place in range(1, BINS))
    (edges,) = table.one(
        f"SELECT approx_quantile({value}, [{shares}]) FROM ({rows}) "
        "WHERE half = 0 AND b IS NOT NULL AND isfinite(b)"
        if feature.kind == "time" or feature.is_float
        else f"SELECT approx_quantile({value}, [{shares}]) FROM ({rows}) WHERE half = 0"
    )
    inner = sorted({float(edge) for edge in edges or [] if edge is not None})
    listed = ", ".join(map(repr, inner)) or "0.0"
    place = f"list_count(list_filter([{listed}]::DOUBLE[], lambda e: e < {value}))"
    return f"SELECT half, {place} AS bin, y FROM ({rows})"


def _class_score(table: OpenTable, feature: Column, label: Column) -> Score | None:
    halves = _halves(table, feature, label.text)
    counts = table.all(f"SELECT half, bin, y, count(*) FROM ({halves}) GROUP BY half, bin, y")
    names = sorted({y for _, _, y, _ in counts})
    bins = {bin: place for place, bin in enumerate(dict.fromkeys(one[1] for one in counts))}
    seen = np.zeros((2, len(bins), len(names)))
    for half, bin, y, rows in counts:
        seen[half, bins[bin], names.index(y)] += rows
    learnt, judged = seen
    totals = judged.sum(axis=0)
    if len(names) < 2 or (totals > 0).sum() < 2 or not learnt.sum():
        return None
    prior = learnt.sum(axis=0) / learnt.sum()
    shares = np.where(
        learnt.sum(axis=1, keepdims=True) > 0,
        learnt / np.maximum(learnt.sum(axis=1, keepdims=True), 1),
        prior,
    )
    if len(names) == 2:
        return Score("AUC", _auc(shares[:, 1], judged))
    told = shares / np.maximum(prior, 1e-12)  # against the class's own share: none is favoured
    hits = np.zeros(len(names))
    for bin, name in enumerate(told.argmax(axis=1)):
        hits[name] += judged[bin, name]
    present = totals > 0
    return Score("balanced accuracy", float((hits[present] / totals[present]).mean()))


def _auc(scores: NDArray[Any], judged: NDArray[Any]) -> float:
    """Area under the ROC curve of bins with a score; bins of one score are ties."""
    negative = positive = area = 0.0
    for score in np.unique(scores):
        here = judged[scores == score].sum(axis=0)
        area += here[1] * (negative + here[0] / 2)
        negative += here[0]
        positive += here[1]
    return float(area / (negative * positive))


def _number_score(table: OpenTable, feature: Column, label: Column) -> Score | None:
    finite = f"CASE WHEN isfinite(CAST({label.sql} AS DOUBLE)) THEN CAST({label.sql} AS DOUBLE) END"
    halves = _halves(table, feature, finite)
    sums = table.all(
        f"SELECT half, bin, count(*), sum(y), sum(y * y) FROM ({halves}) GROUP BY half, bin"
    )
    means = {bin: total / rows for half, bin, rows, total, _ in sums if half == 0}
    judged = [(bin, rows, total, squares) for half, bin, rows, total, squares in sums if half == 1]
    rows = sum(one[1] for one in judged)
    if not rows or not means:
        return None
    overall = float(np.mean(list(means.values())))
    total = sum(one[2] for one in judged)
    spread = sum(one[3] for one in judged) - total**2 / rows
    left = sum(
        squares - 2 * mean * of_bin + n * mean**2
        for bin, n, of_bin, squares in judged
        for mean in (means.get(bin, overall),)
    )
    return Score("R²", 1 - left / spread) if spread > 0 else None
