"""What a test set teaches of scores as probabilities."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from treadle.evaluation.calibration import Calibration, ScoreCurve, calibrate, side_by_side
from treadle.kernel.entity import from_json, to_json


@given(st.integers(0, 1000), st.integers(2, 4))
def test_chances_are_probabilities_that_sum_to_one(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes) / 3, 200)
    truth = random.integers(0, classes, 200)
    given_scores = scores[:, 1] if classes == 2 else scores
    calibration = calibrate(truth, given_scores)
    chances = calibration.chances(given_scores)
    assert chances.shape == scores.shape
    assert (chances >= 0).all()
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert from_json(to_json(calibration), Calibration) == calibration


def test_scores_that_say_too_much_are_toned_down() -> None:
    random = np.random.default_rng(0)
    score = random.random(5000)
    truth = (random.random(5000) < 0.4 + 0.2 * score).astype(int)
    calibration = calibrate(truth, score)
    low, high = calibration.chances(np.array([0.05, 0.95]))[:, 1]
    assert abs(low - 0.41) < 0.06 and abs(high - 0.59) < 0.06


def test_a_row_that_no_class_can_have_may_be_of_each() -> None:
    nothing = ScoreCurve(scores=[0.0, 1.0], probabilities=[0.0, 0.0])
    chances = Calibration(rows=1, curves=[nothing] * 4).chances(np.full((1, 4), 0.25))
    np.testing.assert_allclose(chances, 0.25)


def test_refitting_keeps_what_is_not_calibrated() -> None:
    random = np.random.default_rng(1)
    score = random.random(1000)
    truth = (random.random(1000) < score).astype(int)
    curve = ScoreCurve(scores=[0.0, 1.0], probabilities=[0.2, 0.8])
    kept = Calibration(rows=9, curves=[ScoreCurve()]).refitted(truth, score)
    assert (kept.rows, kept.curves) == (1000, [ScoreCurve()])
    several = Calibration(rows=9, curves=[curve, ScoreCurve(), curve])
    refitted = several.refitted(truth, np.stack([score, score, score], axis=1))
    assert refitted.curves[1] == ScoreCurve()
    assert refitted.curves[0] not in (curve, ScoreCurve())


def test_the_score_of_class_one_stands_beside_its_complement() -> None:
    np.testing.assert_allclose(side_by_side(np.array([0.25])), [[0.75, 0.25]])
