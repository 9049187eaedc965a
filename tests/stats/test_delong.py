"""The paired difference of two ROC AUCs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.stats.delong import FEWEST, roc_auc_difference
from treadle.stats.intervals import difference
from treadle.stats.metrics import resampled_roc_auc, roc_auc


def scores(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truths, and two scores that have much in common; the second has ties."""
    random = np.random.default_rng(seed)
    truth = (random.random(rows) < 0.3).astype(float)
    one = truth * 0.5 + random.normal(size=rows)
    return truth, one, np.round(0.3 * truth + 0.7 * one + random.normal(size=rows), 1)


@given(st.integers(0, 10_000), st.integers(40, 400))
def test_the_difference_is_that_of_the_areas(seed: int, rows: int) -> None:
    truth, one, two = scores(rows, seed)
    measured = roc_auc_difference(truth, one, two)
    assert measured.value == pytest.approx(roc_auc(truth, one) - roc_auc(truth, two), abs=1e-12)
    assert roc_auc_difference(truth, two, one).low == pytest.approx(-measured.high, nan_ok=True)


def test_its_interval_is_nearly_the_bootstraps() -> None:
    truth, one, two = scores(4000, 1)
    exact, drawn = roc_auc_difference(truth, one, two), difference("roc_auc", truth, one, two)
    assert exact.high - exact.low == pytest.approx(drawn.high - drawn.low, rel=0.2)


def test_its_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two scores of equal worth differ by 0 in truth."""
    random, covered = np.random.default_rng(3), 0
    for _ in range(1000):
        truth = (random.random(200) < 0.4).astype(float)
        common = truth * 0.6 + random.normal(size=200)
        one, two = (common + random.normal(size=200) for _ in range(2))
        measured = roc_auc_difference(truth, one, two)
        covered += measured.low <= 0 <= measured.high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize("ones", [0, 1, FEWEST - 1])
def test_few_rows_of_a_class_have_no_interval(ones: int) -> None:
    truth = np.r_[np.ones(ones), np.zeros(50)]
    measured = roc_auc_difference(truth, np.arange(50.0 + ones), np.arange(50.0 + ones)[::-1])
    assert np.isnan(measured.low) and np.isnan(measured.high)
    assert np.isnan(measured.value) == (ones == 0)


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(0, 2))
def test_resampled_areas_are_those_of_the_resampled_rows(
    seed: int, rows: int, decimals: int
) -> None:
    random = np.random.default_rng(seed)
    truth, score = (random.random(rows) < 0.4).astype(float), random.random(rows).round(decimals)
    measure = resampled_roc_auc(truth, score)
    for _ in range(5):
        drawn = random.integers(0, rows, rows)
        expected = roc_auc(truth[drawn], score[drawn])
        assert measure(drawn) == pytest.approx(expected, abs=1e-12, nan_ok=True)
