"""Confidence sequences: bounds that hold at all sample sizes at once, however often looked at."""

import math
from collections.abc import Callable

from treadle.stats.beta import log_beta
from treadle.stats.evalues import rejects

_BISECTIONS = 60


def rate_bounds(k: int, n: int, alpha: float) -> tuple[float, float]:
    """Bounds of a rate: those that a mixture over Beta(1/2, 1/2) does not reject (Robbins 1970).

    Args:
        k: Events seen.
        n: Chances for an event, ``k`` or more.
        alpha: Probability that one side is ever wrong, between 0 and 1.

    Returns:
        The lower and the upper bound; 0 and 1 when ``n`` is 0.
    """
    if not n:
        return 0.0, 1.0
    log_mixture = log_beta(0.5 + k, 0.5 + n - k) - log_beta(0.5, 0.5)

    def rejected(rate: float) -> bool:
        log_likelihood = k * math.log(rate) if k else 0.0
        log_likelihood += (n - k) * math.log1p(-rate) if n > k else 0.0
        return rejects(log_mixture - log_likelihood, alpha)

    low = _edge(rejected, 0.0, k / n) if k else 0.0
    high = _edge(rejected, 1.0, k / n) if k < n else 1.0
    return low, high


def cdf_radius(n: int, alpha: float) -> float:
    """Largest error of an empirical distribution function, at whatever sample size one looks.

    Theorem 2 of Howard and Ramdas (2022), with A = 0.85.

    Args:
        n: Draws so far.
        alpha: Probability that the error is ever larger, between 0 and 1.

    Returns:
        A distance between distribution functions, 1 at most.
    """
    if not n:
        return 1.0
    log_log = math.log(math.log(math.e * n))
    return min(1.0, 0.85 * math.sqrt((log_log + 0.8 * math.log(1612 / alpha)) / n))


def _edge(rejected: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where rejection begins, between a rate that is not rejected and one that is."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if rejected(middle):
            outside = middle
        else:
            inside = middle
    return outside
