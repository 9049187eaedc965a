import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from treadle.stats.student import incomplete_beta, t_quantile, t_tail


@given(st.floats(-60, 60), st.floats(0.5, 5000))
def test_the_tail_is_scipys(t: float, degrees: float) -> None:
    assert t_tail(t, degrees) == pytest.approx(stats.t.sf(t, degrees), rel=1e-9, abs=1e-300)


@given(st.floats(1e-5, 1 - 1e-5), st.integers(1, 5000))
def test_the_quantile_is_scipys(probability: float, degrees: int) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(st.floats(0.1, 300), st.floats(0.1, 300), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    from scipy.special import betainc

    assert incomplete_beta(a, b, x) == pytest.approx(float(betainc(a, b, x)), rel=1e-8, abs=1e-13)


def test_with_many_degrees_it_is_the_normal_distribution() -> None:
    assert np.isclose(t_quantile(0.975, 1e7), 1.959964, atol=1e-5)
