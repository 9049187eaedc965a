"""Puts truths and the answers of one or two models side by side, over the same classes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Signature
from treadle.scope.model import METRICS_OF, Requirement, Task
from treadle.stats.classes import joined, name_of, spread, truths, unknown
from treadle.stats.families import family
from treadle.stats.metrics import Array

SEVERAL = "probabilities"
TASKS_OF: dict[str, tuple[Task, ...]] = {
    "probability": ("binary",),
    "probabilities": ("multi-class",),
    "value": ("regression", "binary", "anomaly"),
    "values": ("regression",),
    "score": ("anomaly",),
}
"""The tasks that a model may have, by what its answer is. One number may also rank rows."""


class Answered(NamedTuple):
    """What a model answered to the rows of a table.

    Attributes:
        signature: What the model takes and gives.
        scores: Its scores (rows,) or (rows, classes), NaN where it failed.
    """

    signature: Signature
    scores: Array

    @property
    def usable(self) -> Array:
        """Which rows (rows,) it answered with finite numbers."""
        return answered(self.scores)


class Comparable(NamedTuple):
    """Truths and scores as metrics take them.

    Attributes:
        truth: Truths (rows,); positions of classes where the scores are those of several.
        candidate: The candidate's scores.
        champion: The champion's, or None.
    """

    truth: Array
    candidate: Array
    champion: Array | None


def answered(scores: Array) -> Array:
    """Which rows have finite scores only.

    Args:
        scores: Scores (rows,) or (rows, classes).
    """
    finite = np.isfinite(scores)
    return np.asarray(finite if scores.ndim == 1 else finite.all(axis=1))


def same_kind(one: Signature, other: Signature) -> bool:
    """Whether the answers of two models can be compared.

    Args:
        one: What one model takes and gives.
        other: What the other does.
    """
    kinds = (SEVERAL, "score")
    return one.output == other.output or not {one.output, other.output} & {*kinds}


def comparable(
    values: Sequence[object], label: str, candidate: Answered, champion: Answered | None = None
) -> Comparable:
    """Put truths and answers over the classes that any of them knows.

    Args:
        values: The label of each row: a number, a text, or None where it is not known.
        label: Name of the label column.
        candidate: What the candidate answered.
        champion: What the champion answered, of the same kind; None for no champion.

    Returns:
        The rows whose truth is known.

    Raises:
        Invalid: No truth is one of the candidate's classes.
    """
    own = candidate.signature
    theirs = champion.signature.classes if champion else []
    classes = joined(own.classes, theirs) if own.output == SEVERAL else own.classes
    truth = truths(values, own.output, classes)
    present = [value for value in values if value is not None and value == value]
    if present and np.isnan(truth).all():
        _refuse(label, present[0], own)
    if own.output == SEVERAL:
        classes = joined(classes, unknown(values, classes))
        truth = truths(values, own.output, classes)
    known = np.isfinite(truth)
    scores, others = (_over(model, classes) for model in (candidate, champion))
    assert scores is not None
    return Comparable(truth[known], scores[known], None if others is None else others[known])


def check_task(task: str, signature: Signature, requirements: Sequence[Requirement]) -> None:
    """Check that a model does what is declared, and that its answers have the required metrics.

    Args:
        task: The declared task; empty where none is.
        signature: What the model takes and gives.
        requirements: The project's requirements.

    Raises:
        Invalid: It does something else, or a metric cannot be measured on its answers.
    """
    possible = TASKS_OF[signature.output]
    if task and task not in possible:
        raise Invalid(
            f"treadle.toml declares the task {task}, and the model {_gives(signature)}: "
            f"that is {possible[0]}."
        )
    metrics = {name for each in possible for name in METRICS_OF[each]}
    for requirement in requirements:
        name = family(requirement.metric)
        others = [each for each in METRICS_OF if name in METRICS_OF[each]]
        if others and signature.output in (SEVERAL, "score") and name not in metrics:
            raise Invalid(
                f"Requirement '{requirement.id}': '{requirement.metric}' is a metric of "
                f"{' and '.join(others)}, and the model {_gives(signature)}. "
                f"Use {', '.join(METRICS_OF[possible[0]])}."
            )


def _gives(signature: Signature) -> str:
    if signature.output == SEVERAL:
        return f"tells {len(signature.classes)} classes apart"
    if signature.output == "score":
        return "scores anomalies"
    return "tells two classes apart" if signature.output == "probability" else "gives a number"


def _over(model: Answered | None, classes: Sequence[str]) -> Array | None:
    if model is None or model.signature.output != SEVERAL:
        return None if model is None else model.scores
    return spread(model.scores, model.signature.classes, classes)


def _refuse(label: str, value: object, signature: Signature) -> None:
    if signature.classes:
        held = f"'{name_of(value)}', which is none of the model's classes: "
        held += ", ".join(signature.classes[:10])
    else:
        held = f"'{name_of(value)}', and the model {_gives(signature)}"
    raise Invalid(f"The label column '{label}' holds {held}.")
