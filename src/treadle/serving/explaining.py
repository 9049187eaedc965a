"""Explains answers by Shapley values from sampled orders, against the training profile.

A feature's contribution is how much the answer changes when the feature's value is set, on average
over orders in which features are set in rows drawn from the training profile (Štrumbelj and
Kononenko 2014; orders are taken forwards and backwards, as Mitchell et al. 2022 advise). The
contributions of a row add up to its answer less the baseline.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.data.profile import MISSING, OTHER, ColumnProfile, Reference
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.runtime import Columns, LoadedModel

MAX_ROWS, ORDERS = 16, 32
_AT_ONCE = 4096  # rows of one call of the model


class Explanation(Entity):
    """Why a model answered one row as it did.

    Attributes:
        prediction: The answer.
        baseline: The mean answer over the training profile.
        contributions: What each feature adds to the baseline, by name.
        of: The class whose probability is explained, the likeliest one; empty where the model
            gives one number.
    """

    prediction: float
    baseline: float
    contributions: dict[str, float]
    of: str = ""


def explain(
    model: LoadedModel, columns: Columns, reference: Reference | None, classes: list[str]
) -> list[Explanation]:
    """Explain each row.

    Args:
        model: The model.
        columns: The rows, at most `MAX_ROWS`.
        reference: The profile of the training data, or None.
        classes: The model's classes; empty where it gives one number.

    Raises:
        Invalid: There are too many rows.
        Unavailable: The training profile is not known.
    """
    if columns.rows > MAX_ROWS:
        raise Invalid(
            f"{columns.rows} rows were sent; at most {MAX_ROWS} are explained in one request."
        )
    if reference is None:
        raise Unavailable(
            "The model was packaged without example rows, "
            "so there is nothing to explain it against."
        )
    answers = model.predict(columns)
    return [
        _explain(model, columns.part(slice(row, row + 1)), answers[row], reference, classes)
        for row in range(columns.rows)
    ]


def _explain(
    model: LoadedModel, row: Columns, answer: Any, reference: Reference, classes: list[str]
) -> Explanation:
    names = list(row)
    random = np.random.default_rng(0)  # the same row gives the same explanation
    orders = [random.permutation(len(names)) for _ in range(ORDERS // 2)]
    orders += [order[::-1] for order in orders]
    background = drawn(row, reference, len(orders), random)
    chosen = int(np.argmax(answer)) if np.ndim(answer) else None
    rows = _set_one_by_one(row, background, orders, names)
    parts = [
        model.predict(rows.part(slice(start, start + _AT_ONCE)))
        for start in range(0, rows.rows, _AT_ONCE)
    ]
    answers = np.concatenate(parts).astype(np.float64)
    scores = answers if chosen is None else answers[:, chosen]
    scores = scores.reshape(len(orders), len(names) + 1)
    gains = np.zeros(len(names))
    for order, gain in zip(orders, np.diff(scores, axis=1), strict=True):
        gains[order] += gain
    return Explanation(
        prediction=float(answer if chosen is None else answer[chosen]),
        baseline=float(scores[:, 0].mean()),
        contributions=dict(zip(names, (gains / len(orders)).tolist(), strict=True)),
        of=classes[chosen] if chosen is not None and chosen < len(classes) else "",
    )


def _set_one_by_one(
    row: Columns, drawn: Columns, orders: list[NDArray[Any]], names: list[str]
) -> Columns:
    """For each order: the drawn row, then with one feature set, then two, up to the row itself."""
    steps = len(names) + 1
    numbers = np.repeat(drawn.numbers, steps, axis=0)
    texts = np.repeat(drawn.texts, steps, axis=0)
    for index, order in enumerate(orders):
        end = (index + 1) * steps
        for step, feature in enumerate(order, 1):
            name = names[feature]
            column = row.layout.places[name]
            start = index * steps + step
            is_number = column < len(row.layout.numbers) and row.layout.numbers[column] == name
            matrix, value = (numbers, row.numbers) if is_number else (texts, row.texts)
            matrix[start:end, column] = value[0, column]
    return Columns(row.layout, numbers, texts)


def drawn(row: Columns, reference: Reference, count: int, random: np.random.Generator) -> Columns:
    """Draw rows from the training profile, each column by itself.

    Args:
        row: A row with the columns to draw.
        reference: The profile of the training data.
        count: How many rows to draw.
        random: The source of randomness.
    """
    numbers = np.empty((count, len(row.layout.numbers)), dtype=row.layout.dtype)
    texts = np.empty((count, len(row.layout.texts)), dtype=object)
    for index, name in enumerate(row.layout.numbers):
        numbers[:, index] = _numbers(reference.columns[name], count, random)
    for index, name in enumerate(row.layout.texts):
        texts[:, index] = _texts(reference.columns[name], count, random)
    return Columns(row.layout, numbers, texts)


def _numbers(
    profile: ColumnProfile, count: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Values within bins that are drawn by their counts; outer bins are as wide as the next."""
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
    return np.array([values[index] for index in chosen], dtype=object)
