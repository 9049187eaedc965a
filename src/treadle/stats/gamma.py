"""The regularised incomplete gamma function, accurate far into its tail."""

import math

_TINY = 1e-300  # stands for 0 in a denominator of the continued fraction
_PRECISION = 2.0**-52
_SERIES_FROM = 15.0  # above it Stirling's series is exact to double precision


def upper_gamma(a: float, x: float) -> float:
    """Regularised upper incomplete gamma function Q(a, x) = Γ(a, x) / Γ(a).

    Below x = a + 1 it is 1 less the series of the lower function, above it is Legendre's continued
    fraction by Lentz's method (Press et al. 2007, section 6.2). The factor before either,
    x^a e^-x / Γ(a+1), is taken in the form of Loader (2000), in which nothing large cancels.
    So the relative error stays below 1e-11 for a up to 10⁶ and results down to 1e-300.

    Args:
        a: Shape, above 0.
        x: Lower limit of the integral; anything below 0 counts as 0.

    Returns:
        A number from 0 to 1; 0 where it is too small for a float.
    """
    if math.isnan(x):
        return math.nan
    if x <= 0:
        return 1.0
    if math.isinf(x):
        return 0.0
    factor = _density(a, x)
    if x < a + 1:
        return max(0.0, 1.0 - factor * _lower_series(a, x))
    return min(1.0, factor * a * _upper_fraction(a, x))


def _lower_series(a: float, x: float) -> float:
    """Σ xⁿ / ((a+1) … (a+n)), from n = 0: the lower function over its factor."""
    total = term = 1.0
    n = a
    while term > total * _PRECISION:
        n += 1
        term *= x / n
        total += term
    return total


def _upper_fraction(a: float, x: float) -> float:
    """1 / (x+1-a - 1·(1-a) / (x+3-a - 2·(2-a) / (x+5-a - …))), by Lentz's modified method."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction, step, n = d, 0.0, 0
    while abs(step - 1) > _PRECISION:
        n += 1
        numerator = -n * (n - a)
        b += 2
        d = numerator * d + b
        d = 1 / (d if abs(d) > _TINY else _TINY)
        c = b + numerator / c
        c = c if abs(c) > _TINY else _TINY
        step = d * c
        fraction *= step
    return fraction


def _density(a: float, x: float) -> float:
    """x^a e^-x / Γ(a+1), as exp(-δ(a) - D(a, x)) / √(2πa) (Loader 2000)."""
    return math.exp(-_stirling_error(a) - _deviance(a, x)) / math.sqrt(2 * math.pi * a)


def _deviance(a: float, x: float) -> float:
    """a·ln(a/x) + x - a, by a series where a and x are close, since its terms would cancel."""
    if abs(a - x) >= 0.1 * (a + x):
        return a * math.log(a / x) + x - a
    ratio = (a - x) / (a + x)
    total, term, n = (a - x) * ratio, 2 * a * ratio, 1
    while True:
        term *= ratio * ratio
        n += 2
        before, total = total, total + term / n
        if total == before:
            return total


def _stirling_error(a: float) -> float:
    """How far ln Γ(a+1) is above Stirling's approximation (a+½)·ln a - a + ½·ln 2π."""
    if a <= _SERIES_FROM:
        stirling = (a + 0.5) * math.log(a) - a + 0.5 * math.log(2 * math.pi)
        return math.lgamma(a + 1) - stirling
    square = a * a
    tail = 1 / 1680 - (1 / 1188 - 691 / 360360 / square) / square
    return (1 / 12 - (1 / 360 - (1 / 1260 - tail / square) / square) / square) / a
