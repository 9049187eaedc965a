"""The Beta function and what follows from it agree with scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import betaln
from scipy.stats import beta

from treadle.stats.beta import chance_of_more, log_beta

positive = st.floats(1e-3, 1e6)


@given(positive, positive)
def test_the_beta_function_is_scipys(a: float, b: float) -> None:
    # Both subtract logarithms of gamma functions, which are as large as (a+b)·ln(a+b).
    scale = (a + b) * max(1.0, np.log(a + b))
    assert log_beta(a, b) == pytest.approx(betaln(a, b), abs=1e-13 + 1e-15 * scale)


@pytest.mark.parametrize(
    ("sums", "counts"), [((0.0, 0.0), (0, 0)), ((3.0, 5.0), (20, 20)), ((40.5, 30.25), (90, 100))]
)
def test_the_chance_of_more_is_the_integral(
    sums: tuple[float, float], counts: tuple[int, int]
) -> None:
    first, second = (
        beta(1 + total, 1 + count - total) for total, count in zip(sums, counts, strict=True)
    )
    integral, _ = quad(lambda x: first.pdf(x) * second.sf(x), 0, 1)
    assert chance_of_more(sums, counts) == pytest.approx(integral, abs=0.015)
    assert chance_of_more(sums, counts) == chance_of_more(sums, counts)
