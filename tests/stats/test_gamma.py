"""The incomplete gamma function agrees with scipy's far into its tail."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import gammaincc
from scipy.stats import chi2

from treadle.stats.gamma import upper_gamma
from treadle.stats.hypothesis import chi2_tail

DEGREES = [1, 2, 3, 4, 5, 7, 10, 15, 20, 29, 30, 31, 32, 50, 99, 100, 200, 500, 1000, 5000, 50_000]
P_VALUES = np.r_[np.geomspace(1e-300, 1e-3, 100), np.linspace(0.001, 0.999, 100)]


@pytest.mark.parametrize("degrees", DEGREES)
def test_chi_square_tails_agree_with_scipy_down_to_1e_300(degrees: int) -> None:
    for x in chi2.isf(P_VALUES, degrees).tolist():
        assert chi2_tail(x, degrees) == pytest.approx(chi2.sf(x, degrees), rel=1e-10, abs=0)


@pytest.mark.parametrize("degrees", DEGREES)
def test_chi_square_tails_agree_with_scipy_around_every_scale_of_x(degrees: int) -> None:
    for x in (degrees * np.geomspace(1e-4, 10, 200)).tolist():
        tail = chi2.sf(x, degrees)
        if tail >= 1e-300:
            assert chi2_tail(x, degrees) == pytest.approx(tail, rel=1e-10, abs=0)


@given(st.floats(-3, 5), st.floats(-3, 2))
def test_the_function_agrees_with_scipy(log_a: float, log_ratio: float) -> None:
    a, x = 10**log_a, 10 ** (log_a + log_ratio)
    tail = float(gammaincc(a, x))
    assume(tail >= 1e-290)
    assert upper_gamma(a, x) == pytest.approx(tail, rel=1e-9, abs=0)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 20, 31])
def test_tails_fall_from_1_to_0(degrees: int) -> None:
    tails = [chi2_tail(x, degrees) for x in np.linspace(0, 100, 300)]
    assert tails == sorted(tails, reverse=True)
    assert chi2_tail(0.0, degrees) == chi2_tail(-1.0, degrees) == 1.0
    assert chi2_tail(1e9, degrees) == chi2_tail(math.inf, degrees) == 0.0
    assert math.isnan(chi2_tail(math.nan, degrees))


def test_nothing_varies_without_degrees_of_freedom() -> None:
    assert chi2_tail(3.0, 0) == 1.0
