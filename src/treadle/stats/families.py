"""Metrics that have a number in their names, such as ``precision_at_2%`` or ``cost_fp1_fn20``."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from treadle.stats import decisions, ranking

EXAMPLES = (*ranking.EXAMPLES, *decisions.EXAMPLES)
"""One member of each family."""


def member(name: str) -> Callable[[NDArray[Any], NDArray[Any]], float] | None:
    """The metric of a family that has this name.

    Args:
        name: Any name.

    Returns:
        None where no family has it.
    """
    return ranking.at_capacity(name) or decisions.at_threshold(name)


def family(name: str) -> str:
    """The family that a metric is listed under: ``precision_at_K`` for ``precision_at_2%``.

    Args:
        name: A metric's name; one of no family is its own.
    """
    if member(name) is None:
        return name
    if name.startswith("cost"):
        return decisions.OF_COSTS
    metric, _, how = name.partition("_")
    return f"{metric}_at_K" if how.startswith("at_") else f"{metric}_above_T"
