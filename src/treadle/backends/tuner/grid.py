"""A grid: every combination of the values of a space, in an order that a seed decides."""

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
    axes = {name: _values(name, drawn) for name, drawn in plan.space.items()}
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > MOST_POINTS:
        raise Invalid(
            f"Field 'tune.space': a grid of {size:,} points is too large; {MOST_POINTS:,} are the "
            "most. Give fewer values, or take another sampler."
        )
    return _points(to_text(axes), plan.seed)


@lru_cache(maxsize=8)
def _points(text: str, seed: int) -> list[dict[str, Any]]:
    from treadle.kernel.entity import from_json

    axes = from_json(text, dict[str, list[Any]])
    every = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    random.Random(seed).shuffle(every)
    return every


def _values(name: str, drawn: "Range | list[Scalar]") -> list[Any]:
    if isinstance(drawn, list):
        return drawn
    step = drawn.step or (1 if drawn.is_whole and not drawn.log else None)
    if step is None:
        raise Invalid(
            f"Field 'tune.space.{name}': a grid needs a step or a list of values. "
            f"Write {name} = {{ low = {drawn.low}, high = {drawn.high}, step = ... }}, "
            "or take another sampler."
        )
    count = int((drawn.high - drawn.low) / step + 1e-9) + 1
    return [drawn.low + step * index for index in range(count)]
