import numpy as np
import pytest

from treadle.stats.control_limits import THREE_SIGMA, deviation_limits, prediction_limits


def test_three_sigma_limits_are_the_mean_and_three_deviations() -> None:
    limits = deviation_limits(np.array([1.0, 3.0]))
    assert limits == (2 - 3, 2 + 3)


def test_of_ten_values_prediction_limits_keep_their_level_and_three_sigma_do_not() -> None:
    draws = np.random.default_rng(0).normal(size=(4_000, 11))
    outside = [0, 0]
    for *values, following in draws:
        for kind, limits in enumerate((prediction_limits(np.array(values), 0.05),
                                       deviation_limits(np.array(values), 1.96))):  # fmt: skip
            assert limits is not None
            outside[kind] += not limits.low <= following <= limits.high
    assert outside[0] / len(draws) == pytest.approx(0.05, abs=0.012)
    assert outside[1] / len(draws) > 0.09


def test_two_values_say_nothing() -> None:
    assert prediction_limits(np.array([1.0, 2.0])) is None
    assert pytest.approx(0.0027, abs=1e-5) == THREE_SIGMA
