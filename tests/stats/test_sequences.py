"""Confidence sequences agree with a root that scipy finds, and hold at all sizes at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import betabinom, binom

from treadle.stats.sequences import cdf_radius, rate_bounds


@given(st.integers(1, 60), st.integers(1, 400), st.floats(0.001, 0.2))
def test_rate_bounds_are_the_roots_that_scipy_finds(k: int, others: int, alpha: float) -> None:
    n = k + others
    mixture = betabinom.logpmf(k, n, 0.5, 0.5)

    def beyond(rate: float) -> float:
        return float(mixture - binom.logpmf(k, n, rate) + math.log(alpha))

    low, high = rate_bounds(k, n, alpha)
    assert low == pytest.approx(brentq(beyond, 1e-15, k / n, xtol=1e-14), rel=1e-6)
    assert high == pytest.approx(brentq(beyond, k / n, 1 - 1e-15, xtol=1e-14), rel=1e-6)


@given(st.integers(0, 60), st.integers(1, 400), st.floats(0.001, 0.2))
def test_rate_bounds_hold_what_was_seen_and_narrow(k: int, more: int, alpha: float) -> None:
    n = k + more
    low, high = rate_bounds(k, n, alpha)
    assert 0 <= low <= k / n <= high <= 1
    wide_low, wide_high = rate_bounds(k, n, alpha / 10)
    assert wide_low <= low + 1e-9 and wide_high >= high - 1e-9
    assert rate_bounds(10 * k, 10 * n, alpha)[1] <= high + 1e-9


def test_rate_bounds_looked_at_always_are_rarely_wrong() -> None:
    random, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        failures = np.cumsum(random.random(1000) < 0.03)
        looks = [rate_bounds(int(failures[n - 1]), n, 0.05) for n in range(10, 1000, 15)]
        wrong += any(low > 0.03 for low, _ in looks) or any(high < 0.03 for _, high in looks)
    assert wrong / 300 <= 0.1  # 5 % on each side


def test_nothing_seen_bounds_nothing() -> None:
    assert rate_bounds(0, 0, 0.05) == (0.0, 1.0)
    assert cdf_radius(0, 0.05) == 1.0


def test_the_radius_holds_at_every_size_at_once() -> None:
    random, missed = np.random.default_rng(11), 0
    for _ in range(200):
        draws = random.random(2000)
        sizes = np.unique(np.geomspace(10, 2000, 40).astype(int))
        off = [
            np.max(np.abs(np.arange(1, n + 1) / n - np.sort(draws[:n]))) > cdf_radius(int(n), 0.05)
            for n in sizes
        ]
        missed += any(off)
    assert missed <= 10
