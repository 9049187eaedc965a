import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as theirs

from treadle.kernel.errors import Invalid
from treadle.stats import metrics
from treadle.stats.calibration import useful_curve
from treadle.stats.expected import COUNTS, OF_SEVERAL, OF_TWO, Expectation
from treadle.stats.expected_intervals import corrected, interval

SEEDS = st.integers(0, 10_000)


def two(probability: np.ndarray) -> np.ndarray:
    return np.stack([1 - probability, probability], axis=1)


def drawn(seed: int, rows: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    score = random.random(rows)
    score = np.round(score, 1) if ties else score
    return score, (random.random(rows) < score).astype(int)


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 60))
def test_of_certain_classes_the_expected_value_is_the_realised_one(seed: int, rows: int) -> None:
    score, truth = drawn(seed, rows, ties=True)
    known = Expectation(two(truth.astype(float)), two(score), metrics.predicted_class(score))
    for name in ("roc_auc", "average_precision", "accuracy", "precision", "recall", "f1",
                 "brier", "log_loss", "balanced_accuracy", "macro_f1"):  # fmt: skip
        ours = known.of(name).value
        np.testing.assert_allclose(ours, metrics.metric(name)(truth, score), rtol=1e-9, atol=1e-12)
    tn, fp, fn, tp = theirs.confusion_matrix(truth, score >= 0.5, labels=[0, 1]).ravel()
    counts = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert [known.of(name).value for name in counts] == pytest.approx([tn, fp, fn, tp])


@settings(max_examples=30)
@given(SEEDS, st.integers(3, 5))
def test_of_several_certain_classes_too(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes), 80)
    truth = np.r_[np.arange(classes), random.integers(0, classes, 80 - classes)]
    predicted = metrics.predicted_class(scores)
    known = Expectation(np.zeros(scores.shape), scores, predicted).known(truth)
    for name in ("accuracy", "log_loss", "balanced_accuracy", "macro_f1", "top_3_accuracy"):
        np.testing.assert_allclose(known.of(name).value, metrics.metric(name)(truth, scores))
    auc = theirs.roc_auc_score(truth, scores, multi_class="ovr")
    np.testing.assert_allclose(known.of("roc_auc").value, auc)
    area = theirs.average_precision_score(truth, scores)
    np.testing.assert_allclose(known.of("average_precision").value, area)
    if len(set(predicted)) == classes:
        f1 = theirs.f1_score(truth, predicted, average="macro")
        np.testing.assert_allclose(known.of("f1").value, f1)


@settings(max_examples=10)
@given(SEEDS, st.integers(20, 80), st.booleans())
def test_influences_are_the_derivative_by_the_weight_of_a_row(
    seed: int, rows: int, ties: bool
) -> None:
    score, _ = drawn(seed, rows, ties)
    chance = np.clip(score**2, 0.01, 0.99)
    once = Expectation(two(chance), two(score), (score > 0.4).astype(int))
    times = 1000
    # The last row once more, among so many copies of all rows that one counts little.
    weight = np.r_[np.repeat(np.arange(rows), times), rows - 1]
    heavier = once.part(weight)
    for name in sorted(set(OF_TWO) - COUNTS):
        expected = once.of(name)
        mean = np.sum(once.chances * expected.influence, axis=1)
        np.testing.assert_allclose(mean.mean(), 0, atol=1e-9)
        moved = (heavier.of(name).value - expected.value) * rows * times
        np.testing.assert_allclose(moved, mean[-1], rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1"])
def test_intervals_cover_the_value_of_all_rows(name: str) -> None:
    score, _ = drawn(1, 400_000)
    truth_of_all = score**2
    predicted = (score > 0.5).astype(int)
    everything = Expectation(two(truth_of_all), two(score), predicted).of(name).value
    random, covered = np.random.default_rng(2), 0
    for _ in range(100):
        rows, reference = random.integers(0, len(score), (2, 500))
        curve = useful_curve((random.random(500) < truth_of_all[reference]) * 1, score[reference])
        assert curve is not None
        some = Expectation(two(curve.at(score[rows])), two(score[rows]), predicted[rows])
        estimate = interval(name, some.of(name), some, calibrated_on=500)
        covered += estimate.low <= everything <= estimate.high
    assert 0.91 <= covered / 100 <= 1.0


def test_of_a_sample_of_labels_the_correction_removes_what_drift_has_made_wrong() -> None:
    random, rows = np.random.default_rng(3), 20_000
    score = random.random(rows)
    truth = (random.random(rows) < 0.2 + 0.5 * score).astype(float)  # the score says otherwise
    told = np.where(random.random(rows) < 0.1, truth, np.nan)
    estimate = Expectation(two(score), two(score), (score > 0.5).astype(int))
    for name in ("accuracy", "roc_auc", "f1", "true_positives"):
        realised = estimate.known(truth).of(name).value
        expected = estimate.of(name)
        right = corrected(name, expected, estimate, told)
        assert right is not None
        assert right.labels == np.isfinite(told).sum()
        low, high = right.estimate.low, right.estimate.high
        assert low <= realised <= high
        assert not low <= expected.value <= high
        assert expected.value + right.gap == pytest.approx(right.estimate.value)


def test_with_every_label_the_corrected_value_is_the_realised_one() -> None:
    score, truth = drawn(4, 500)
    rows = Expectation(two(score**2), two(score), (score > 0.5).astype(int))
    for name in OF_TWO:
        right = corrected(name, rows.of(name), rows, truth.astype(float))
        assert right is not None
        assert right.estimate.value == pytest.approx(rows.known(truth).of(name).value)


def test_few_labels_and_labels_of_one_class_correct_nothing() -> None:
    score, truth = drawn(5, 100)
    rows = Expectation(two(score), two(score), (score > 0.5).astype(int))
    few = np.where(np.arange(100) < 9, truth, np.nan)
    assert corrected("accuracy", rows.of("accuracy"), rows, few) is None
    one_class = np.where(truth == 1, 1.0, np.nan)
    assert corrected("roc_auc", rows.of("roc_auc"), rows, one_class) is None


def test_nothing_is_expected_of_no_rows_and_of_unknown_metrics() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = Expectation(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))
        assert all(np.isnan(empty.of(name).value) for name in OF_TWO)
        nobody = Expectation(two(np.zeros(5)), two(np.linspace(0, 1, 5)), np.zeros(5))
        assert np.isnan(nobody.of("roc_auc").value)
        assert np.isnan(interval("recall", nobody.of("recall"), nobody).value)
    with pytest.raises(Invalid, match=r"'roc_aux' cannot be estimated.* Did you mean 'roc_auc'\?"):
        empty.of("roc_aux")
    with pytest.raises(Invalid, match="Of 3 classes"):
        Expectation(np.ones((2, 3)) / 3, np.ones((2, 3)), np.zeros(2)).of("brier")
    assert "brier" not in OF_SEVERAL
