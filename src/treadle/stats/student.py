"""Student's t distribution: its tail and its quantiles."""

import math
from functools import lru_cache

from treadle.stats.beta import log_beta

_TINY = 1e-300  # stands for 0 in a denominator of the continued fraction
_PRECISION = 2.0**-52


def t_tail(t: float, degrees: float) -> float:
    """P(T ≥ t) of Student's t distribution, by the incomplete beta function.

    P(T ≥ t) = I_x(degrees/2, 1/2) / 2 with x = degrees / (degrees + t²), for t of 0 or more.

    Args:
        t: The statistic.
        degrees: Degrees of freedom, above 0.
    """
    if t < 0:
        return 1 - t_tail(-t, degrees)
    squared = t * t
    if squared < 1:  # near the middle, where degrees / (degrees + t²) is nearly 1
        return 0.5 - incomplete_beta(0.5, degrees / 2, squared / (degrees + squared)) / 2
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + squared)) / 2


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """The value that T stays below with a probability, by bisection of ``t_tail``.

    Args:
        probability: A probability, above 0 and below 1.
        degrees: Degrees of freedom, above 0.
    """
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    tail, low, high = 1 - probability, 0.0, 1.0
    while t_tail(high, degrees) > tail:
        low, high = high, high * 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b).

    It is the continued fraction of Press et al. (2007), section 6.4, on the side on which it
    converges quickly.

    Args:
        a: First parameter, above 0.
        b: Second parameter, above 0.
        x: Upper limit of the integral, from 0 to 1.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta(a, b))
    return front * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's modified method."""
    c, d = 1.0, 1 / _kept_off_zero(1 - (a + b) * x / (a + 1))
    fraction, step, m = d, 0.0, 0
    while abs(step - 1) > _PRECISION and m < 10_000:
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for numerator in (even, odd):
            d = 1 / _kept_off_zero(1 + numerator * d)
            c = _kept_off_zero(1 + numerator / c)
            step = d * c
            fraction *= step
    return fraction


def _kept_off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
