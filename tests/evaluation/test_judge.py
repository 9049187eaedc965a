"""A verdict follows from its findings, and says too little when it knows too little."""

import numpy as np
import pytest

from treadle.evaluation.judge import MIN_ROWS, judge
from treadle.evaluation.model import Judged
from treadle.scope.model import Requirement
from treadle.stats.metrics import Array

NAN = float("nan")
R1 = Requirement(id="R1", says="ranks well", metric="roc_auc", at_least=0.7)
R2 = Requirement(id="R2", says="is calibrated", metric="brier", at_most=0.25)
FAST = Requirement(id="R3", says="is fast", metric="latency_ms.p99", at_most=100)


def rows(count: int = 600) -> tuple[Array, Array, Array]:
    """Truth, good scores, and scores that say nothing."""
    random = np.random.default_rng(11)
    good = random.uniform(0, 1, count)
    truth = (random.uniform(0, 1, count) < good).astype(float)
    return truth, good, random.uniform(0, 1, count)


def outcomes(judged: Judged) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in judged.findings}


def test_a_good_candidate_passes_every_check() -> None:
    truth, good, poor = rows()
    judged = judge([R1, R2], truth, good, poor)
    assert judged.outcome == "passed"
    assert outcomes(judged) == dict.fromkeys(
        ["answers", "R1", "R2", "baseline", "champion"], "passed"
    )
    assert "R1: roc_auc 0.8" in judged.reason
    assert judged.rows == 600


def test_a_missed_requirement_refuses_with_the_number_and_the_bound() -> None:
    truth, _, poor = rows()
    judged = judge([R1, R2], truth, poor, None)
    assert judged.outcome == "refused"
    assert outcomes(judged) == {
        "answers": "passed",
        "R1": "refused",
        "R2": "refused",
        "baseline": "passed",
    }
    assert "R1: roc_auc 0." in judged.reason
    assert "wanted roc_auc ≥ 0.7; R2: brier" in judged.reason
    assert "answers" not in judged.reason


def test_a_champion_that_is_clearly_better_refuses() -> None:
    truth, good, poor = rows()
    mixed = (good + poor) / 2
    judged = judge([Requirement(id="R1", metric="roc_auc", at_least=0.6)], truth, mixed, good)
    assert outcomes(judged) == {
        "answers": "passed",
        "R1": "passed",
        "baseline": "passed",
        "champion": "refused",
    }
    assert judged.outcome == "refused"
    assert "champion: roc_auc better than the champion's by -" in judged.reason


def test_a_champion_that_is_a_little_better_does_not_refuse() -> None:
    truth, good, poor = rows()
    assert judge([R1], truth, good + 1e-3 * poor, good).outcome == "passed"


def test_a_champion_is_compared_in_the_direction_of_the_metric() -> None:
    truth, good, poor = rows()
    lenient = Requirement(id="R2", metric="brier", at_most=0.9)
    assert outcomes(judge([lenient], truth, good, poor))["champion"] == "passed"
    assert outcomes(judge([lenient], truth, poor, good))["champion"] == "refused"


def test_too_few_rows_are_no_evidence_however_good_the_scores() -> None:
    truth, good, _ = rows(MIN_ROWS - 1)
    judged = judge([R1], truth, good, None)
    assert judged.outcome == "not enough evidence"
    assert outcomes(judged)["answers"] == "not enough evidence"
    assert judged.findings[0].says == "99 rows are fewer than 100"
    assert judge([R1], *rows(MIN_ROWS)[:2], None).outcome != "not enough evidence"


@pytest.mark.parametrize("requirement", [R1, R2])
def test_no_rows_at_all_are_no_evidence(requirement: Requirement) -> None:
    judged = judge([requirement], np.array([]), np.array([]), np.array([]))
    assert judged.outcome == "not enough evidence"
    assert judged.rows == 0


def test_a_metric_that_cannot_be_computed_is_no_evidence() -> None:
    _, good, _ = rows()
    judged = judge([R1], np.zeros(600), good, None)
    assert judged.outcome == "not enough evidence"
    assert outcomes(judged) == {"answers": "passed", "R1": "not enough evidence"}


def test_what_is_missed_weighs_more_than_what_is_unknown() -> None:
    _, good, _ = rows()
    strict = Requirement(id="R2", metric="brier", at_most=0.0001)
    assert judge([R1, strict], np.zeros(600), good, None).outcome == "refused"


@pytest.mark.parametrize("answer", [NAN, float("inf"), -float("inf")])
def test_an_answer_that_is_no_finite_number_refuses(answer: float) -> None:
    truth, good, _ = rows()
    good[17] = answer
    judged = judge([R1], truth, good, good.copy())
    assert judged.outcome == "refused"
    assert outcomes(judged) == {"answers": "refused"}
    assert "share of rows answered 0.9983" in judged.reason


def test_the_champion_is_compared_on_the_rows_that_it_answers() -> None:
    truth, good, poor = rows()
    champion = good.copy()
    champion[:100] = NAN
    judged = judge([R1], truth, good, champion)
    assert judged.findings[-1].value == 0.0
    assert judged.outcome == "passed"
    assert (
        judge([Requirement(id="R1", metric="roc_auc", at_least=0.1)], truth, poor, champion).outcome
        == "refused"
    )


@pytest.mark.parametrize("requirement", [R1, R2])
def test_a_champion_that_answers_nothing_stands_in_nobodys_way(requirement: Requirement) -> None:
    truth, good, _ = rows()
    assert judge([requirement], truth, good, np.full(600, NAN)).outcome == "passed"


def test_what_rows_cannot_show_is_left_to_production() -> None:
    truth, good, _ = rows()
    assert outcomes(judge([FAST, R1], truth, good, good)) == dict.fromkeys(
        ["answers", "R1", "baseline", "champion"], "passed"
    )


def test_every_finding_rests_on_a_number_inside_its_interval() -> None:
    truth, good, poor = rows()
    for finding in judge([R1, R2], truth, good, poor).findings:
        assert finding.low is not None and finding.value is not None and finding.high is not None
        assert finding.low <= finding.value <= finding.high
        assert finding.bound


def test_judging_does_not_change_the_scores() -> None:
    truth, good, poor = rows()
    before = truth.copy(), good.copy(), poor.copy()
    judge([R1, R2], truth, good, poor)
    for array, copy in zip((truth, good, poor), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_candidate_is_held_against_the_same_answer_to_every_row() -> None:
    truth, good, poor = rows()
    (finding,) = [f for f in judge([R1], truth, good, None).findings if f.check == "baseline"]
    assert finding.says == "is better than a random order: 0.8729 against 0.5"
    lenient = Requirement(id="R2", metric="brier", at_most=0.9)
    judged = judge([lenient], truth, poor, None)
    assert judged.outcome == "refused"
    assert "baseline: brier better than the baseline's by -0.0" in judged.reason
    assert "is worse than the majority class" in judged.findings[-1].says


def test_a_regression_is_held_against_the_mean() -> None:
    truth, good, poor = rows()
    loose = Requirement(id="R1", metric="rmse", at_most=9)
    (finding,) = [f for f in judge([loose], truth, good, None).findings if f.check == "baseline"]
    assert finding.says.startswith("is better than the mean: 0.3846 against 0.4993")
    assert judge([loose], truth, 5 * poor, None).outcome == "refused"


def test_a_cost_is_held_against_the_cheapest_decision_for_every_row() -> None:
    truth, good, poor = rows()
    dear = Requirement(id="R1", metric="cost_fp1_fn3", at_most=0.5)
    judged = judge([dear], truth, good, None)
    baseline = np.mean(truth == 0)  # all are called: each false alarm costs 1
    assert judged.outcome == "passed"
    assert judged.findings[-1].says == (
        f"is better than the cheapest decision for every row: 0.3033 against {baseline:.4g}"
    )
    assert judge([dear], truth, poor, None).outcome == "refused"


@pytest.mark.parametrize("metric", ["precision", "recall", "precision_above_0.2"])
def test_a_metric_that_a_constant_wins_has_no_baseline(metric: str) -> None:
    truth, good, _ = rows()
    loose = Requirement(id="R1", metric=metric, at_least=0.1)
    assert "baseline" not in outcomes(judge([loose], truth, good, None))


def of_three(skill: float) -> Array:
    """Scores of three classes (rows, classes), the more right the greater the skill."""
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, 600)
    scores = random.dirichlet(np.ones(3), 600) + skill * np.eye(3)[truth]
    return np.column_stack([truth, scores / scores.sum(axis=1, keepdims=True)])


def test_several_classes_are_judged_by_a_matrix_of_scores() -> None:
    good, poor = of_three(0.6), of_three(0.0)
    truth, good, poor = good[:, 0], good[:, 1:], poor[:, 1:]
    requirements = [
        Requirement(id="R1", metric="macro_f1", at_least=0.6),
        Requirement(id="R2", metric="log_loss", at_most=1.0),
        FAST,
    ]
    judged = judge(requirements, truth, good, poor)
    assert outcomes(judged) == dict.fromkeys(
        ["answers", "R1", "R2", "baseline", "champion"], "passed"
    )
    assert judged.metrics.keys() == {"macro_f1", "log_loss"}
    assert outcomes(judge(requirements, truth, poor, good))["champion"] == "refused"
    broken = good.copy()
    broken[17, 1] = NAN
    assert outcomes(judge(requirements, truth, broken, good)) == {"answers": "refused"}
    assert outcomes(judge(requirements, truth, good, broken))["champion"] == "passed"
