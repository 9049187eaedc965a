"""A grid: every combination of the values of a space, in an order that a seed decides."""

import math
import random
from functools import lru_cache
from itertools import product
from typing import Any

from treadle.kernel.entity import to_text
from treadle.kernel.errors import Invalid
from treadle.ports.tuner import Range, Scalar, SearchPlan

MOST_POINTS = 100_000


def points(plan: SearchPlan) -> list[dict[str, Any]]:
    """Every combination of values, in the order in which they are tried.

    Args:
        plan: The plan.

    Raises:
        Invalid: A range has no step, or there are too many combinations.
    """
    steps = {name: _step(name, drawn) for name, drawn in plan.space.items()}
    size = 1.0
    for name, drawn in plan.space.items():
        size *= _count(drawn, steps[name])
    if not size <= MOST_POINTS:
        raise Invalid(
            f"Field 'tune.space': a grid of {size:,.6g} points is too large; {MOST_POINTS:,} are "
            "the most. Give fewer values, or take another sampler."
        )
    axes = {name: _values(drawn, steps[name]) for name, drawn in plan.space.items()}
    return _points(to_text(axes), plan.seed)


@lru_cache(maxsize=8)
def _points(text: str, seed: int) -> list[dict[str, Any]]:
    from treadle.kernel.entity import from_json

    axes = from_json(text, dict[str, list[Any]])
    every = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    random.Random(seed).shuffle(every)
    return every


def _step(name: str, drawn: "Range | list[Scalar]") -> float:
    """The distance between an axis' values; 0 for a list."""
    if isinstance(drawn, list):
        return 0
    step = drawn.step or (1 if drawn.is_whole and not drawn.log else None)
    if step is None:
        raise Invalid(
            f"Field 'tune.space.{name}': a grid needs a step or a list of values. "
            f"Write {name} = {{ low = {drawn.low}, high = {drawn.high}, step = ... }}, "
            "or take another sampler."
        )
    return step


def _count(drawn: "Range | list[Scalar]", step: float) -> float:
    """How many values an axis has; infinity where that is beyond a float."""
    if isinstance(drawn, list):
        return len(drawn)
    steps = float(drawn.high - drawn.low) / step
    return steps if steps > MOST_POINTS else math.floor(steps + 1e-9) + 1


def _values(drawn: "Range | list[Scalar]", step: float) -> list[Any]:
    if isinstance(drawn, list):
        return drawn
    return [drawn.low + step * index for index in range(int(_count(drawn, step)))]
