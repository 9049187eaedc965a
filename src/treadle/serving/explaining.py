"""Why a model answered as it did: Shapley values by sampled orders, against what the model saw in training.

A feature's contribution is how much the answer changes when its value is told, on average over orders in which the features are
told to rows drawn from the training profile (Štrumbelj and Kononenko 2014; orders are taken forwards and backwards, as
Mitchell et al. 2022 advise). The contributions of a row add up to its answer less the baseline.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import MISSING, OTHER, ColumnProfile, Reference
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.runtime import Columns, LoadedModel

MAX_ROWS, ORDERS = 16, 32
_AT_ONCE = 4096  # rows that the model is asked together


class Explanation(Entity):
    """Of one row: the answer, the mean answer over the training profile, and what each feature adds to that.

    ``of`` names the class whose probability it is, the likeliest one; empty where the model gives one number.
    """

    prediction: float
    baseline: float
    contributions: dict[str, float]
    of: str = ""


def explain(
    model: LoadedModel, columns: Columns, reference: Reference | None, classes: list[str]
) -> list[Explanation]:
    """Explain each row. Raises Invalid for too many of them, Unavailable where the training profile is not known."""
    if columns.rows > MAX_ROWS:
        raise Invalid(
            f"{columns.rows} rows were sent; at most {MAX_ROWS} are explained in one request."
        )
    if reference is None:
        raise Unavailable(
            "The model was packaged without example rows, so there is nothing to explain it against."
        )
    answers = model.predict(columns)
    return [
        _explain(model, columns.part(slice(row, row + 1)), answers[row], reference, classes)
        for row in range(columns.rows)
    ]


def _explain(
    model: LoadedModel, row: Columns, answer: Any, reference: Reference, classes: list[str]
) -> Explanation:
    names, random = list(row), np.random.default_rng(0)  # the same row gives the same explanation
    orders = [random.permutation(len(names)) for _ in range(ORDERS // 2)]
    orders += [order[::-1] for order in orders]
    strangers = drawn(row, reference, len(orders), random)
    chosen = int(np.argmax(answer)) if np.ndim(answer) else None
    rows = _told_one_by_one(row, strangers, orders, names)
    parts = [
        model.predict(rows.part(slice(start, start + _AT_ONCE)))
        for start in range(0, rows.rows, _AT_ONCE)
    ]
    given = np.concatenate(parts).astype(np.float64)
    scores = (given if chosen is None else given[:, chosen]).reshape(len(orders), len(names) + 1)
    gains = np.zeros(len(names))
    for order, told in zip(orders, np.diff(scores, axis=1), strict=True):
        gains[order] += told
    return Explanation(
        prediction=float(answer if chosen is None else answer[chosen]),
        baseline=float(scores[:, 0].mean()),
        contributions=dict(zip(names, (gains / len(orders)).tolist(), strict=True)),
        of=classes[chosen] if chosen is not None and chosen < len(classes) else "",
    )


def _told_one_by_one(
    row: Columns, drawn: Columns, orders: list[NDArray[Any]], names: list[str]
) -> Columns:
    """For each order: the drawn row, then with the first feature told, then with two, until it is the row itself."""
    steps = len(names) + 1
    numbers, texts = (np.repeat(matrix, steps, axis=0) for matrix in (drawn.numbers, drawn.texts))
    for place, order in enumerate(orders):
        for told, feature in enumerate(order, 1):
            name = names[feature]
            column, start, end = row.layout.places[name], place * steps + told, (place + 1) * steps
            is_number = column < len(row.layout.numbers) and row.layout.numbers[column] == name
            matrix, value = (numbers, row.numbers) if is_number else (texts, row.texts)
            matrix[start:end, column] = value[0, column]
    return Columns(row.layout, numbers, texts)


def drawn(row: Columns, reference: Reference, count: int, random: np.random.Generator) -> Columns:
    """Rows as training saw them, column by column."""
    numbers = np.empty((count, len(row.layout.numbers)), dtype=np.float32)
    texts = np.empty((count, len(row.layout.texts)), dtype=object)
    for place, name in enumerate(row.layout.numbers):
        numbers[:, place] = _numbers(reference.columns[name], count, random)
    for place, name in enumerate(row.layout.texts):
        texts[:, place] = _texts(reference.columns[name], count, random)
    return Columns(row.layout, numbers, texts)


def _numbers(
    profile: ColumnProfile, count: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Values between the edges of bins drawn by their counts; the outer bins are as wide as their neighbours."""
    chances = np.array(profile.counts, dtype=np.float64)
    bins = random.choice(len(chances), count, p=chances / chances.sum())
    edges = np.array(profile.edges)
    first = edges[0] - (edges[1] - edges[0] if len(edges) > 1 else 0.0)
    last = edges[-1] + (edges[-1] - edges[-2] if len(edges) > 1 else 0.0)
    bounds = np.concatenate([[first], edges, [last]])
    missing = bins == len(profile.counts) - 1
    bins = np.minimum(bins, len(bounds) - 2)
    drawn = random.uniform(bounds[bins], bounds[bins + 1])
    return np.where(missing, np.nan, drawn)


def _texts(profile: ColumnProfile, count: int, random: np.random.Generator) -> NDArray[Any]:
    chances = np.array(profile.counts, dtype=np.float64)
    chosen = random.choice(len(chances), count, p=chances / chances.sum())
    values = ["" if label in (MISSING, OTHER) else label for label in profile.labels]
    return np.array([values[place] for place in chosen], dtype=object)
