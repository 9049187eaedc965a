"""Metrics agree with scikit-learn."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import rankdata

from treadle.kernel.errors import Invalid
from treadle.scope.model import METRICS_OF
from treadle.stats import decisions, metrics
from treadle.stats.decisions import AT_THRESHOLD
from treadle.stats.metrics import (
    METRICS,
    OF_NUMBERS,
    OF_SEVERAL_CLASSES,
    Array,
    average_ranks,
    bounded_loss,
    metric,
)
from treadle.stats.ranking import AT_CAPACITY

TIED = st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.9, 1.0])
ORACLES: dict[str, Any] = {
    "roc_auc": oracle.roc_auc_score,
    "average_precision": oracle.average_precision_score,
    "log_loss": lambda truth, score: oracle.log_loss(truth, score, labels=[0, 1]),
    "brier": oracle.brier_score_loss,
    "accuracy": lambda truth, score: oracle.accuracy_score(truth, score >= 0.5),
    "balanced_accuracy": lambda truth, score: oracle.balanced_accuracy_score(truth, score >= 0.5),
    "macro_f1": lambda truth, score: oracle.f1_score(truth, score >= 0.5, average="macro"),
    "top_3_accuracy": lambda truth, score: float(len(truth) == len(score)),
    "precision": lambda truth, score: oracle.precision_score(
        truth, score >= 0.5, zero_division=np.nan
    ),
    "recall": lambda truth, score: oracle.recall_score(truth, score >= 0.5, zero_division=np.nan),
    "f1": lambda truth, score: oracle.f1_score(truth, score >= 0.5, zero_division=np.nan),
    "mae": oracle.mean_absolute_error,
    "rmse": oracle.root_mean_squared_error,
    "r2": oracle.r2_score,
}
OF_CLASSES = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "balanced_accuracy",
    "macro_f1",
    "top_3_accuracy",
)
ORACLES_OF_SEVERAL: dict[str, Any] = {
    "accuracy": lambda truth, score: oracle.accuracy_score(truth, score.argmax(axis=1)),
    "balanced_accuracy": lambda truth, score: oracle.balanced_accuracy_score(
        truth, score.argmax(axis=1)
    ),
    "macro_f1": lambda truth, score: oracle.f1_score(truth, score.argmax(axis=1), average="macro"),
    "log_loss": lambda truth, score: oracle.log_loss(
        truth, score, labels=list(range(score.shape[1]))
    ),
    "top_3_accuracy": lambda truth, score: oracle.top_k_accuracy_score(
        truth, score, k=3, labels=list(range(score.shape[1]))
    ),
}


@st.composite
def classified(draw: st.DrawFn) -> tuple[Array, Array]:
    """Truth of 0 and 1, maybe of one class only, and probabilities with many ties."""
    rows = draw(st.integers(2, 40))
    truth = draw(npst.arrays(np.float64, rows, elements=st.sampled_from([0.0, 1.0])))
    fine = st.floats(1e-6, 1 - 1e-6)
    score = draw(npst.arrays(np.float64, rows, elements=draw(st.sampled_from([TIED, fine]))))
    return truth, score


@st.composite
def of_several(draw: st.DrawFn) -> tuple[Array, Array]:
    """Positions of four to six classes, and probabilities of them with ties in a coarse grid."""
    rows, classes = draw(st.integers(2, 40)), draw(st.integers(4, 6))
    places = st.integers(0, classes - 1)
    truth = draw(npst.arrays(np.int64, rows, elements=places)).astype(float)
    grid = st.sampled_from([0.1, 0.2, 0.5, 0.9])
    score = draw(npst.arrays(np.float64, (rows, classes), elements=grid))
    return truth, score / score.sum(axis=1, keepdims=True)


numbers = st.integers(2, 40).flatmap(
    lambda rows: st.tuples(
        *[npst.arrays(np.float64, rows, elements=st.floats(-1e3, 1e3, width=32))] * 2
    )
)


def same(found: float, expected: float) -> bool:
    return (math.isnan(found) and math.isnan(expected)) or found == pytest.approx(
        expected, rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("name", OF_CLASSES)
@settings(max_examples=60, deadline=None)
@given(drawn=classified())
def test_metrics_of_classes_agree_with_sklearn(name: str, drawn: tuple[Array, Array]) -> None:
    truth, score = drawn
    assume(name not in ("roc_auc", "average_precision") or len(set(truth)) == 2)
    if name == "log_loss":
        score = np.clip(score, 1e-6, 1 - 1e-6)
    assert same(METRICS[name](truth, score), ORACLES[name](truth, score))


@pytest.mark.parametrize("name", ORACLES_OF_SEVERAL)
@settings(max_examples=60, deadline=None)
@given(drawn=of_several())
def test_metrics_of_several_classes_agree_with_sklearn(
    name: str, drawn: tuple[Array, Array]
) -> None:
    truth, score = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predicted class that is not in the truth
        assert same(METRICS[name](truth, score), ORACLES_OF_SEVERAL[name](truth, score))


@pytest.mark.parametrize("name", ORACLES_OF_SEVERAL)
def test_metrics_of_several_classes_of_no_rows_are_no_numbers(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of nothing
        assert math.isnan(METRICS[name](np.empty(0), np.empty((0, 4))))


@given(drawn=of_several())
def test_bounded_losses_of_several_classes_are_half_of_briers(drawn: tuple[Array, Array]) -> None:
    truth, score = drawn
    right = np.eye(score.shape[1])[truth.astype(int)]
    losses = bounded_loss("log_loss", truth, score)
    np.testing.assert_allclose(losses, ((score - right) ** 2).sum(axis=1) / 2)
    assert not bounded_loss("log_loss", truth, right).any()


def test_the_metrics_of_each_task_are_those_that_its_scores_have() -> None:
    assert set().union(*METRICS_OF.values()) == {*METRICS, *AT_CAPACITY, *AT_THRESHOLD}
    assert set(METRICS_OF["regression"]) == OF_NUMBERS
    assert set(METRICS_OF["multi-class"]) == OF_SEVERAL_CLASSES == set(ORACLES_OF_SEVERAL)
    assert set(METRICS_OF["binary"]) == {*OF_CLASSES, *AT_CAPACITY, *AT_THRESHOLD} - {
        "top_3_accuracy"
    }
    assert set(METRICS_OF["anomaly"]) == {"roc_auc", "average_precision", *AT_CAPACITY}


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
@settings(max_examples=60, deadline=None)
@given(drawn=numbers)
def test_metrics_of_numbers_agree_with_sklearn(name: str, drawn: tuple[Array, Array]) -> None:
    truth, score = drawn
    assume(name != "r2" or np.ptp(truth) > 1e-2)
    assert same(METRICS[name](truth, score), ORACLES[name](truth, score))


def test_every_metric_has_an_oracle() -> None:
    assert set(ORACLES) == set(METRICS)


@settings(max_examples=60, deadline=None)
@given(drawn=classified())
def test_the_area_is_the_chance_that_a_positive_outranks_a_negative(
    drawn: tuple[Array, Array],
) -> None:
    truth, score = drawn
    assume(len(set(truth)) == 2)
    pairs = [(p, n) for p in score[truth == 1] for n in score[truth == 0]]
    chance = np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs])
    assert metrics.roc_auc(truth, score) == pytest.approx(chance)
    assert metrics.roc_auc(truth, -score) == pytest.approx(1 - chance)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_the_area_of_one_class_is_no_number(only: float) -> None:
    assert math.isnan(metrics.roc_auc(np.full(10, only), np.linspace(0, 1, 10)))


def test_what_divides_by_nothing_is_no_number() -> None:
    none, low = np.zeros(5), np.full(5, 0.1)
    assert math.isnan(decisions.precision(none, low))
    assert math.isnan(decisions.recall(none, low))
    assert math.isnan(decisions.f1(none, low))


@pytest.mark.parametrize("value", [0.0, 3.0, 0.1, 1e6 + 0.1])
def test_a_truth_that_does_not_vary_has_no_determination(value: float) -> None:
    assert math.isnan(metrics.r2(np.full(3, value), np.array([1.0, 2.0, 3.0])))


def test_the_loss_of_a_certain_mistake_is_large_and_finite() -> None:
    loss = metrics.log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert 30 < loss < 40


def test_an_unknown_metric_is_told_with_the_near_miss() -> None:
    with pytest.raises(Invalid, match=r"There is no metric 'roc_uac'\. Did you mean 'roc_auc'\?"):
        metric("roc_uac")


@settings(max_examples=60, deadline=None)
@given(npst.arrays(np.float64, st.integers(1, 40), elements=TIED))
def test_ranks_agree_with_scipy(values: Array) -> None:
    np.testing.assert_array_equal(average_ranks(values), rankdata(values))


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=30, deadline=None)
@given(drawn=numbers)
def test_bounded_losses_lie_between_0_and_1(name: str, drawn: tuple[Array, Array]) -> None:
    truth, score = drawn
    losses = bounded_loss(name, truth, score)
    assert ((losses >= 0) & (losses <= 1)).all()
    assert not bounded_loss(name, truth, truth).any()


def test_bounded_losses_of_probabilities_are_briers() -> None:
    truth, score = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.9, 0.0])
    assert np.mean(bounded_loss("roc_auc", truth, score)) == pytest.approx(
        oracle.brier_score_loss(truth, score)
    )


def test_metrics_of_numbers_are_those_that_scikit_learn_calls_regression() -> None:
    assert set(METRICS) - set(OF_CLASSES) == OF_NUMBERS
