"""Metrics of decisions agree with scikit-learn, and a decision by its costs is the cheapest."""

import math

import numpy as np
import pytest
import sklearn.metrics as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid
from treadle.stats.decisions import EXAMPLES, cheapest_threshold
from treadle.stats.families import family
from treadle.stats.metrics import is_metric, lower_is_better, metric

rows = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), min_size=1, max_size=40
).map(lambda pairs: (np.array([t for t, _ in pairs]), np.array([s for _, s in pairs])))
thresholds = st.integers(1, 99).map(lambda percent: percent / 100)
costs = st.integers(1, 1000)


@settings(max_examples=80, deadline=None)
@given(drawn=rows, threshold=thresholds)
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_metrics_above_a_threshold_are_those_of_the_rows_that_reach_it(
    name: str, drawn: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    truth, score = drawn
    measured = metric(f"{name}_above_{threshold}")(truth, score)
    expected = getattr(oracle, f"{name}_score")(truth, score >= threshold, zero_division=math.nan)
    assert measured == pytest.approx(expected, nan_ok=True)


@settings(max_examples=80, deadline=None)
@given(drawn=rows, false_positive=costs, false_negative=costs)
def test_a_cost_is_that_of_the_confusion_matrix(
    drawn: tuple[np.ndarray, np.ndarray], false_positive: int, false_negative: int
) -> None:
    truth, score = drawn
    called = score >= cheapest_threshold(false_positive, false_negative)
    (_, wrong), (missed, _) = oracle.confusion_matrix(truth, called, labels=[0, 1])
    expected = (wrong * false_positive + missed * false_negative) / len(truth)
    measured = metric(f"cost_fp{false_positive}_fn{false_negative}")(truth, score)
    assert measured == pytest.approx(expected)


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 20), (3, 1), (5, 5)])
def test_no_other_threshold_costs_clearly_less_where_probabilities_are_right(
    false_positive: int, false_negative: int
) -> None:
    random = np.random.default_rng(1)
    score = random.uniform(0, 1, 200_000)
    truth = (random.uniform(0, 1, len(score)) < score) * 1.0
    costs = [
        np.mean((score >= t) * (truth == 0) * false_positive)
        + np.mean((score < t) * (truth == 1) * false_negative)
        for t in np.linspace(0.01, 0.99, 99)
    ]
    own = metric(f"cost_fp{false_positive}_fn{false_negative}")(truth, score)
    assert own <= min(costs) * 1.01


def test_a_model_that_is_too_sure_costs_more() -> None:
    random = np.random.default_rng(2)
    right = random.uniform(0, 1, 20_000)
    truth = (random.uniform(0, 1, len(right)) < right) * 1.0
    too_sure = np.clip((right - 0.5) * 4 + 0.5, 0, 1)
    measure = metric("cost_fp1_fn20")
    assert measure(truth, too_sure) > 1.5 * measure(truth, right)


def test_nothing_costs_nothing_known() -> None:
    assert math.isnan(metric("cost_fp1_fn20")(np.empty(0), np.empty(0)))


@pytest.mark.parametrize(
    "name",
    ["f1_above_0", "recall_above_1", "precision_above_2", "accuracy_above_0.2", "cost_fp0_fn1"],
)
def test_what_is_no_decision_names_no_metric(name: str) -> None:
    assert not is_metric(name)
    assert family(name) == name
    with pytest.raises(Invalid, match=f"There is no metric '{name}'"):
        metric(name)


def test_a_metric_of_a_decision_is_listed_by_its_family() -> None:
    families = ["precision_above_T", "recall_above_T", "f1_above_T", "cost_fpA_fnB"]
    assert [family(name) for name in EXAMPLES] == families
    assert [name for name in EXAMPLES if lower_is_better(name)] == ["cost_fp1_fn20"]
