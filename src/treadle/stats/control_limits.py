"""Limits between which the next value is expected, from earlier ones that were in order."""

from typing import NamedTuple

import numpy as np

from treadle.stats.metrics import Array
from treadle.stats.student import t_quantile

THREE_SIGMA = 0.0026997960632601866
"""How often a normal variable is further than three standard deviations from its mean."""


class Limits(NamedTuple):
    """The limits of what is expected.

    Attributes:
        low: The lower limit.
        high: The upper limit.
    """

    low: float
    high: float


def deviation_limits(values: Array, deviations: float = 3.0) -> Limits:
    """Mean ± deviations · s of the earlier values (Shewhart 1931), with s² over k as in NannyML.

    With few values they are too narrow: the mean and the deviation are taken for known.

    Args:
        values: Earlier values (k,), finite.
        deviations: How many standard deviations.
    """
    mean, half = float(np.mean(values)), deviations * float(np.std(values))
    return Limits(mean - half, mean + half)


def prediction_limits(values: Array, alpha: float = THREE_SIGMA) -> Limits | None:
    """Limits that the next value of a normal variable is outside of with probability alpha.

    mean ± t(1 - alpha/2; k-1) · s · √(1 + 1/k), with s² over k-1: the mean and the
    deviation of so few values are uncertain themselves (Hahn and Meeker 1991, section 4.7).

    Args:
        values: Earlier values (k,), finite.
        alpha: The probability, by default that of three sigma, 0.27 %.

    Returns:
        None with fewer than three values.
    """
    count = len(values)
    if count < 3:
        return None
    deviation = float(np.std(values, ddof=1)) * (1 + 1 / count) ** 0.5
    mean, half = float(np.mean(values)), t_quantile(1 - alpha / 2, count - 1) * deviation
    return Limits(mean - half, mean + half)
