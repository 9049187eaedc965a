import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import StratifiedShuffleSplit

from treadle.stats.calibration import (
    expected_calibration_error,
    isotonic_curve,
    stratified_shuffles,
    useful_curve,
)

SCORES = st.integers(1, 60).flatmap(
    lambda rows: st.tuples(
        arrays(float, rows, elements=st.sampled_from([0.0, 0.25, 0.5, 0.5625, 0.75, 1.0])),
        arrays(int, rows, elements=st.integers(0, 1)),
    )
)


@given(SCORES)
def test_the_curve_is_scikit_learns(rows: tuple[np.ndarray, np.ndarray]) -> None:
    score, truth = rows
    asked = np.linspace(-0.5, 1.5, 50)
    regression = IsotonicRegression(out_of_bounds="clip").fit(score, truth)
    curve = isotonic_curve(truth, score)
    np.testing.assert_allclose(curve.at(asked), regression.predict(asked), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_of_many_rows_without_ties_is_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.random(20_000)
    truth = (random.random(20_000) < score**2).astype(int)
    expected = IsotonicRegression(out_of_bounds="clip").fit(score, truth).predict(score)
    np.testing.assert_allclose(isotonic_curve(truth, score).at(score), expected, atol=1e-9)


def test_falling_truths_are_pooled_into_one_level() -> None:
    curve = isotonic_curve(np.array([1, 1, 0, 0]), np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_allclose(curve.at(np.array([0.0, 0.25, 9.0])), 0.5)


@given(st.integers(2, 40), st.integers(2, 200), st.integers(0, 9))
def test_shuffles_are_scikit_learns(positives: int, negatives: int, seed: int) -> None:
    rows = positives + negatives
    truth = np.random.default_rng(seed).permutation(np.r_[np.ones(positives), np.zeros(negatives)])
    if int(np.ceil(0.1 * rows)) < 2:
        return
    theirs = StratifiedShuffleSplit(3, test_size=0.1, random_state=seed).split(truth, truth)
    ours = stratified_shuffles(truth, 3, 0.1, seed)
    for (train, test), (their_train, their_test) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(train, their_train)
        np.testing.assert_array_equal(test, their_test)


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    score, truth = np.array([0.1, 0.1, 0.8, 0.8]), np.array([0, 1, 1, 1])
    assert expected_calibration_error(truth, score, bins=2) == pytest.approx((0.4 + 0.2) / 2)


def test_a_calibrated_score_is_left_as_it_is_and_a_bent_one_is_not() -> None:
    random = np.random.default_rng(0)
    score = random.random(20_000)
    bent = useful_curve((random.random(20_000) < score**3).astype(int), score)
    assert bent is not None
    assert bent.at(np.array([0.5]))[0] == pytest.approx(0.125, abs=0.03)
    # 200 coins whose probability is said exactly: a fitted curve can only be worse.
    said = np.repeat([0.3, 0.7], 100)
    truth = np.r_[np.repeat([1, 0], [30, 70]), np.repeat([1, 0], [70, 30])]
    assert useful_curve(truth, said) is None


@pytest.mark.parametrize(
    ("truth", "score"),
    [
        (np.ones(50), np.linspace(0, 1, 50)),
        (np.r_[np.zeros(25), np.ones(25)], np.linspace(0, 1, 50)),
        (np.r_[np.zeros(5), np.ones(5)], np.linspace(0, 1, 10)),
    ],
    ids=["one class", "separated", "few rows"],
)
def test_nothing_is_calibrated_where_it_cannot_help(truth: np.ndarray, score: np.ndarray) -> None:
    assert useful_curve(truth, score) is None
