"""The gates do what their formulas promise, however often they are asked."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.serving.scripted import batch_of
from treadle.delivery import gates, quality_gates, step_statistics
from treadle.delivery.model import Decision, GateResult
from treadle.delivery.step import ALPHA, Step
from treadle.delivery.step_statistics import StepStatistics
from treadle.scope.model import Requirement
from treadle.stats.histograms import LatencyHistogram

P99 = Requirement(id="L", metric="latency_ms.p99", at_most=15)
START, DAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
AUC = Requirement(id="R1", metric="roc_auc", at_least=0.7)


def tally(
    role: str, answers: dict[str, float], into: StepStatistics | None = None
) -> StepStatistics:
    into = into or StepStatistics()
    if answers:
        into.add(batch_of(*answers, role=role, outputs=list(answers.values())))
    return into


def looked_at_always(
    candidate: NDArray[np.bool_], failed: NDArray[np.bool_], share: float
) -> NDArray[np.bool_]:
    """Which streams (rows) are ever rolled back, asked after every request (columns)."""
    total = np.cumsum(failed, axis=1)
    mine = np.cumsum(failed & candidate, axis=1)
    table = {
        (k, n): gates.errors(k, n - k, share).decision == "roll back"
        for k, n in {(int(k), int(n)) for k, n in zip(mine.ravel(), total.ravel(), strict=True)}
    }
    found = [
        [table[int(k), int(n)] for k, n in zip(*row, strict=True)]
        for row in zip(mine, total, strict=True)
    ]
    return np.asarray(np.array(found).any(axis=1))


@pytest.mark.parametrize(("share", "rate"), [(0.1, 0.02), (0.5, 0.1), (0.9, 0.3)])
def test_equals_looked_at_after_every_request_are_rarely_rolled_back(
    share: float, rate: float
) -> None:
    random = np.random.default_rng(1)
    shape = (2000, 400)
    rolled = looked_at_always(random.random(shape) < share, random.random(shape) < rate, share)
    assert rolled.mean() <= ALPHA


@pytest.mark.parametrize(("share", "power"), [(0.1, 0.5), (0.5, 0.95)])
def test_a_candidate_that_fails_five_points_more_is_found(share: float, power: float) -> None:
    random = np.random.default_rng(2)
    candidate = random.random((200, 2000)) < share
    failed = random.random(candidate.shape) < np.where(candidate, 0.06, 0.01)
    assert looked_at_always(candidate, failed, share).mean() >= power


def test_a_candidate_that_fails_less_is_never_rolled_back_for_errors() -> None:
    found = gates.errors(0, 500, 0.5)
    assert found.decision == "promote"
    assert "0 of 500 errors with 50% of the requests (e-value" in found.reason


def test_no_errors_at_all_speak_for_nobody() -> None:
    assert gates.errors(0, 0, 0.1) == GateResult(
        gate="errors",
        decision="promote",
        reason="0 of 0 errors with 10% of the requests (e-value 1, limit 20)",
    )


@pytest.mark.parametrize("failures", [300, 400, 200_000])
def test_a_candidate_that_always_fails_is_rolled_back_however_many_requests_it_had(
    failures: int,
) -> None:
    assert gates.errors(failures, 10, 0.1).decision == "roll back"


@given(
    st.lists(st.sampled_from(["promote", "hold", "roll back", "not enough evidence"]), max_size=6)
)
def test_the_gravest_decision_wins_with_its_reasons(decisions: list[Decision]) -> None:
    results = [
        GateResult(gate=str(n), decision=d, reason=f"reason {n}") for n, d in enumerate(decisions)
    ]
    verdict = gates.decide(results)
    order: list[Decision] = ["roll back", "not enough evidence", "hold", "promote"]
    wanted = min(decisions, key=order.index, default="promote")
    assert verdict.decision == wanted
    assert all(result.reason in verdict.reason for result in results if result.decision == wanted)


@pytest.mark.parametrize(
    ("newcomer_ms", "champion_ms", "decision"),
    [
        (14, 1, "promote"),  # kept
        (20, 14, "roll back"),  # missed, and the champion keeps it
        (31, 30, "promote"),  # missed by both alike
        (61, 30, "roll back"),  # missed by twice as much
        (20, 2, "roll back"),
    ],
)
def test_a_latency_bound_that_the_champion_keeps_must_be_kept(
    newcomer_ms: int, champion_ms: int, decision: Decision
) -> None:
    newcomer, champion = LatencyHistogram(), LatencyHistogram()
    newcomer.add([newcomer_ms * 1000] * 50)
    champion.add([champion_ms * 1000] * 50)
    found = gates.latency(P99, newcomer, champion, step(share=0.5))
    assert found.decision == decision
    told = [float(number) for number in re.findall(r"([\d.]+) ms", found.reason)]
    assert told == pytest.approx([newcomer_ms, champion_ms], rel=0.02)


def step(**asked: Any) -> Step:
    facts: dict[str, Any] = {
        "newcomer": "candidate",
        "share": 0.5,
        "started": START,
        "now": START,
        "min_labels": 20,
    }
    return Step(**{**facts, **asked})


def decisions(asked: Step, seen: StepStatistics) -> dict[str, tuple[str, str]]:
    return {result.gate: (result.decision, result.reason) for result in gates.judge(asked, seen)}


def test_few_labels_do_not_stop_a_step_and_that_is_said() -> None:
    seen = tally("candidate", {"a": 0.5})
    seen.learn({"a": 1.0}, "roc_auc")
    assert decisions(step(requirements=[AUC]), seen)["quality"] == (
        "promote",
        "1 labelled requests, fewer than the 20 that quality is judged on",
    )


@pytest.mark.parametrize("policy", ["promote", "hold", "roll back"])
def test_labels_are_waited_for_as_long_as_is_declared(policy: Any) -> None:
    seen = tally("candidate", {"a": 0.5})
    asked = {
        "requirements": [AUC],
        "labels_due": 2 * DAY,
        "patience": DAY,
        "without_labels": policy,
    }
    decision, reason = decisions(step(**asked, now=START + 2.9 * DAY), seen)["quality"]
    assert decision == "not enough evidence"
    assert "labels are due by 2026-01-03 00:00 and waited for until 2026-01-04 00:00" in reason
    decision, reason = decisions(step(**asked, now=START + 3 * DAY), seen)["quality"]
    assert (decision, "at 2026-01-04 00:00 and since" in reason) == (policy, True)


def test_a_margin_is_kept_or_waited_for_with_a_time() -> None:
    seen = StepStatistics()
    for role, count in (("champion", 900), ("candidate", 100)):
        seen.add(batch_of(*[f"{role}{n}" for n in range(count)], role=role))
    now = START + timedelta(hours=1)
    decision, reason = decisions(step(error_margin=0.02, now=now), seen)["evidence"]
    assert decision == "not enough evidence"
    when = re.search(r"(\d+) at the present rate by (2026-01-01 \d\d:\d\d)", reason)
    assert when is not None
    needed = int(when[1])
    for role in ("champion", "candidate"):
        seen.add(batch_of(*[f"{role}-{n}" for n in range(needed)], role=role))
    assert decisions(step(error_margin=0.02, now=now), seen)["evidence"][0] == "promote"
    assert (
        decisions(step(error_margin=0.001, now=now), seen)["evidence"][0] == "not enough evidence"
    )


def test_a_tally_of_more_answers_than_it_keeps_keeps_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_statistics, "MOST_ANSWERS", 100)
    seen = StepStatistics()
    for start in range(0, 1000, 50):
        for role in ("champion", "shadow"):
            seen.add(batch_of(*[f"r{n}" for n in range(start, start + 50)], role=role))
    assert 20 < len(seen.answers["champion"]) <= 100
    assert seen.answers["champion"].keys() == seen.answers["shadow"].keys()
    assert seen.rows["shadow"] == 1000


def labelled(
    count: int, seed: int = 0
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Labels, scores that know them, and scores that know nothing, by request."""
    random = np.random.default_rng(seed)
    labels = {f"r{n}": float(random.random() < 0.4) for n in range(count)}
    good = {id: float(0.7 * label + 0.6 * random.random()) for id, label in labels.items()}
    return labels, good, {id: float(random.random()) for id in labels}


def test_a_candidate_that_clearly_misses_its_requirement_is_rolled_back() -> None:
    labels, good, poor = labelled(300)
    assert quality_gates.quality(AUC, tally("candidate", poor), labels).decision == "roll back"
    assert quality_gates.quality(AUC, tally("candidate", good), labels).decision == "promote"


def test_labels_of_one_class_only_are_no_reason_to_roll_back() -> None:
    scores = {f"r{n}": n / 200 for n in range(200)}
    found = quality_gates.quality(AUC, tally("candidate", scores), dict.fromkeys(scores, 0.0))
    assert found.decision != "roll back"
    both = tally("champion", scores, tally("shadow", scores))
    assert (
        quality_gates.paired_quality("roc_auc", both, dict.fromkeys(scores, 0.0)).decision
        != "roll back"
    )


def test_a_shadow_is_compared_on_the_requests_that_both_answered() -> None:
    labels, good, poor = labelled(300)
    worse = tally("champion", good, tally("shadow", poor))
    better = tally("champion", poor, tally("shadow", good))
    assert quality_gates.paired_quality("roc_auc", worse, labels).decision == "roll back"
    assert quality_gates.paired_quality("roc_auc", better, labels).decision == "promote"
    apart = tally(
        "champion", good, tally("shadow", {f"other {id}": score for id, score in poor.items()})
    )
    apart.learn(labels, "roc_auc")
    decision, reason = decisions(step(newcomer="shadow", requirements=[AUC]), apart)["quality"]
    assert (decision, reason.startswith("0 labelled requests")) == ("promote", True)


def test_lower_is_better_for_losses() -> None:
    labels, good, poor = labelled(300)
    worse = tally("champion", good, tally("shadow", poor))
    assert quality_gates.paired_quality("brier", worse, labels).decision == "roll back"
    bound = Requirement(id="B", metric="brier", at_most=0.2)
    assert quality_gates.quality(bound, tally("candidate", poor), labels).decision == "roll back"
    assert (
        quality_gates.quality(
            bound, tally("candidate", {k: min(1.0, v) for k, v in good.items()}), labels
        ).decision
        == "promote"
    )


def test_a_tally_counts_rows_errors_and_answers_by_role() -> None:
    seen = tally("candidate", {"a": 1.0, "b": 0.0})
    seen.add(batch_of("c", role="candidate", error="broke"))
    seen.add(batch_of("d", role="champion"))
    assert seen.rows == {"candidate": 3, "champion": 1, "shadow": 0}
    assert seen.errors == {"champion": 0, "candidate": 1, "shadow": 0}
    assert seen.answers["candidate"] == {"a": 1.0, "b": 0.0}
