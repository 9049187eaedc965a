"""Classes as positions: what a truth in words or numbers is among the names of a model's classes.

A name that is written as a number stands for that number (``1`` and ``1.0`` are one class), and
``true`` and ``false`` stand for 1 and 0, so that truths of any form find their class.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from treadle.stats.metrics import Array

Truth = float | str | bool
"""What turned out to be true: a number, or a class by its name."""


def known_as(value: object) -> float | str | None:
    """What a class is known as, however it is written: a number, or else a text.

    Args:
        value: A class's name, or a truth.

    Returns:
        None for what is missing: None, NaN and the empty text.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool | int | float | np.generic):
        number = float(value)
        return None if math.isnan(number) else number
    text = str(value)
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def joined(*names: Iterable[str]) -> list[str]:
    """All classes of several lists, each once, in the order in which they come.

    Args:
        *names: Names of classes; two names of one number are one class.
    """
    classes: dict[float | str | None, str] = {}
    for listed in names:
        for name in listed:
            classes.setdefault(known_as(name), name)
    return list(classes.values())


def positions(truths: Iterable[object], classes: Sequence[str]) -> NDArray[np.float64]:
    """Position of each truth among classes.

    Args:
        truths: Truths: numbers, texts or booleans; None and NaN are missing.
        classes: Names of the classes.

    Returns:
        Positions (truths,), NaN where a truth is missing or none of the classes.
    """
    listed = list(truths)
    exact = {name: index for index, name in enumerate(classes)}
    places = {known_as(name): index for index, name in reversed(list(enumerate(classes)))}
    found = {
        truth: exact.get(truth, math.nan)
        if isinstance(truth, str) and truth in exact
        else math.nan
        if (name := known_as(truth)) is None
        else places.get(name, math.nan)
        for truth in set(listed)
    }
    return np.array([found[truth] for truth in listed], dtype=np.float64)


def truths(
    values: Sequence[object], output: str, classes: Sequence[str], positive: str | None = None
) -> NDArray[np.float64]:
    """Truths as metrics take them: 0 and 1 of two classes, positions of several, or numbers.

    Of a model that scores anomalies, 1 is an anomaly and 0 is none.

    A number that is a truth of two classes named by words stays what it is.

    Args:
        values: Truths: numbers, texts or booleans; None and NaN are missing.
        output: What the model's answer is, as its signature says.
        classes: Names of the model's classes, if it has any.
        positive: Word that means 1 where the model's classes are 0 and 1, if one is declared; all
            other words mean 0.

    Returns:
        Truths (values,), NaN where one is missing or cannot be placed.
    """
    if output == "probabilities":
        return positions(values, classes)
    places = positions(values, classes) if output == "probability" else np.full(len(values), np.nan)
    numbered = all(isinstance(known_as(name), float) for name in classes) and len(classes) == 2
    own_numbers = numbered and [known_as(name) for name in classes] != [0.0, 1.0]
    for index in np.flatnonzero(np.isnan(places)).tolist():
        truth = known_as(values[index])
        if isinstance(truth, float) and not own_numbers:
            places[index] = truth
        elif truth is not None and positive is not None and output in ("probability", "score"):
            places[index] = float(truth == known_as(positive))
    return places


def spread(scores: Array, own: Sequence[str], classes: Sequence[str]) -> Array:
    """Scores of a model's classes over all classes; a class that the model has not gets 0.

    Args:
        scores: Scores (rows, own classes).
        own: Names of the model's classes.
        classes: Names of all classes, the model's among them.

    Returns:
        Scores (rows, classes); a row with a NaN keeps it.
    """
    if list(own) == list(classes):
        return scores
    over_all = np.zeros((len(scores), len(classes)), dtype=scores.dtype)
    over_all[:, positions(own, classes).astype(int)] = scores
    return over_all


def unknown(truths: Iterable[object], classes: Sequence[str]) -> list[str]:
    """Truths that are there and are none of the classes, as names, each once and in order.

    Args:
        truths: Truths: numbers, texts or booleans; None and NaN are missing.
        classes: Names of the classes.
    """
    listed = dict.fromkeys(truth for truth in truths if known_as(truth) is not None)
    where = positions(listed, classes)
    return joined(
        name_of(truth)
        for truth, position in zip(listed, where.tolist(), strict=True)
        if math.isnan(position)
    )


def name_of(truth: object) -> str:
    """A truth as the name of a class: whole numbers without a point.

    Args:
        truth: A number, a text or a boolean.
    """
    if isinstance(truth, float) and truth.is_integer():
        return str(int(truth))
    return str(truth)
