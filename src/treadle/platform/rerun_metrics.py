"""How alike the metrics of two runs are."""

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Literal

import numpy as np
import numpy.typing as npt

from treadle.kernel.entity import Entity
from treadle.tracking.service import Tracking

Likeness = Literal["equal", "within tolerance", "different", "missing"]
TIMINGS = ("system/*", "seconds.*")
"""Metrics that say how long or how busy, and differ between any two runs."""


class MetricPair(Entity):
    """A metric of both runs: the last values, and how alike the whole series are.

    Attributes:
        key: The metric.
        a: The last value in the first run; None without a value.
        b: The last value in the second run; None without a value.
        points: The number of points in the second run.
        likeness: How alike the series are.
    """

    key: str
    a: float | None
    b: float | None
    points: int
    likeness: Likeness


def worst(found: list[Likeness]) -> Likeness:
    """Return one word for all metrics; where there are none, they are missing.

    Args:
        found: A word for each metric.
    """
    order: tuple[Likeness, ...] = ("missing", "different", "within tolerance", "equal")
    return next((likeness for likeness in order if likeness in found), "missing")


def pairs(
    tracking: Tracking, a: str, b: str, *, tolerance: float, ignore: Sequence[str] = ()
) -> list[MetricPair]:
    """Compare the metrics of two runs, by their names.

    Args:
        tracking: The service that holds the runs.
        a: The first run's id.
        b: The second run's id.
        tolerance: The relative and absolute difference that still counts as alike.
        ignore: Patterns of metrics that are left out, as timings are in any case.

    Raises:
        NotFound: There is no such run.
    """
    keys = {*tracking.get(run=a).metrics, *tracking.get(run=b).metrics}
    patterns = (*TIMINGS, *ignore)
    return [
        _pair(key, _values(tracking, a, key), _values(tracking, b, key), tolerance)
        for key in sorted(keys)
        if not any(fnmatch(key, pattern) for pattern in patterns)
    ]


def _pair(
    key: str, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], tolerance: float
) -> MetricPair:
    last = [float(values[-1]) if len(values) else None for values in (a, b)]
    if not len(a) or not len(b):
        likeness: Likeness = "missing"
    elif np.array_equal(a, b, equal_nan=True):
        likeness = "equal"
    elif len(a) == len(b) and np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
        likeness = "within tolerance"
    else:
        likeness = "different"
    return MetricPair(key=key, a=last[0], b=last[1], points=len(b), likeness=likeness)


def _values(tracking: Tracking, run: str, key: str) -> npt.NDArray[np.float64]:
    return np.array([point.value for point in tracking.history(run=run, key=key)])
