"""Versions with several classes, and with different ones, are compared over the same classes."""

from typing import Any

import numpy as np
import pytest

from tests.serving.scripted import batch_of
from treadle.delivery.quality_gates import paired_quality, quality
from treadle.delivery.sides import Sides
from treadle.delivery.step_statistics import StepStatistics
from treadle.ports.runtime import Signature
from treadle.scope.model import Requirement
from treadle.stats.classes import Truth
from treadle.stats.evalues import LossEProcess

CLASSES = ["a", "b", "c"]
SIDES = {
    "m:1": Signature(inputs=[], output="probabilities", classes=CLASSES),
    "m:2": Signature(inputs=[], output="probabilities", classes=["c", "d", "a", "b"]),
}


def answered(tally: StepStatistics, role: str, version: str, predicted: list[str]) -> None:
    """One request for each class that is predicted, almost surely."""
    classes: Any = SIDES[version].classes
    outputs = [[0.97 if name == each else 0.01 for each in classes] for name in predicted]
    ids = [f"r{n}" for n in range(len(predicted))]
    tally.add(batch_of(*ids, role=role, version=version, outputs=outputs))  # type: ignore[arg-type]


def labels(truth: list[str]) -> dict[str, Truth]:
    return {f"r{n}": name for n, name in enumerate(truth)}


def test_versions_with_other_classes_in_another_order_agree_and_disagree() -> None:
    tally = StepStatistics(0.5, Sides(SIDES))
    answered(tally, "champion", "m:1", ["a", "b", "c", "a"])
    answered(tally, "shadow", "m:2", ["a", "b", "c", "d"])
    assert (tally.pairs, tally.disagreements) == (4, 1)


@pytest.mark.parametrize(("shadow", "decision"), [("right", "promote"), ("wrong", "roll back")])
def test_a_shadow_of_several_classes_is_compared_on_labels_in_words(
    shadow: str, decision: str
) -> None:
    truth = ["a", "b", "c"] * 100
    tally = StepStatistics(0.5, Sides(SIDES))
    wrong = ["b", "c", "a"] * 100
    answered(tally, "champion", "m:1", truth[:200] + wrong[200:])
    answered(tally, "shadow", "m:2", truth if shadow == "right" else wrong)
    tally.learn(labels(truth), "accuracy")
    assert paired_quality("accuracy", tally, tally.labels).decision == decision
    told = paired_quality("roc_auc", tally, tally.labels)
    assert told.reason == "roc_auc cannot be computed on the 300 labelled requests there are"


def test_a_candidate_of_several_classes_is_held_to_its_requirements_and_its_losses() -> None:
    truth = ["a", "b", "c", "none of them"] * 50
    tally = StepStatistics(0.5, Sides(SIDES))
    answered(tally, "candidate", "m:2", ["a", "b", "c", "d"] * 50)
    tally.learn(labels(truth), "accuracy")
    enough = Requirement(id="R1", metric="accuracy", at_least=0.5)
    told = quality(enough, tally, tally.labels)
    assert told.decision == "promote"
    assert told.reason.startswith("accuracy 0.7500 [")
    missed = Requirement(id="R1", metric="accuracy", at_least=0.95)
    assert quality(missed, tally, tally.labels).decision == "roll back"
    assert tally.losses.counts[1] == 200


def test_labels_of_two_classes_may_be_words_and_words_are_no_rewards() -> None:
    signature = Signature(inputs=[], output="probability", classes=["no", "yes"])
    given: dict[str, Truth] = {"r0": "yes", "r1": "no", "r2": 1.0, "r3": "maybe", "r4": True}
    for metric, expected in (
        ("roc_auc", {"r0": 1, "r1": 0, "r2": 1, "r4": 1}),
        (None, {"r2": 1, "r4": 1}),
    ):
        tally = StepStatistics(0.5, Sides({"m:1": signature}))
        tally.add(batch_of(*given, role="candidate", outputs=[0.5] * 5))
        tally.learn(given, metric)
        assert tally.labels == expected


def test_answers_of_another_kind_than_the_newcomers_are_not_compared() -> None:
    number = Signature(inputs=[], output="probability", classes=["0", "1"])
    tally = StepStatistics(0.5, Sides({"m:0": number, "m:2": SIDES["m:2"]}))
    tally.add(batch_of("r0", role="champion", version="m:0", outputs=[0.5]))
    answered(tally, "candidate", "m:2", ["a", "b"])
    assert [len(tally.answers[role]) for role in ("champion", "candidate")] == [0, 2]
    assert np.array(tally.answers["candidate"]["r1"]).argmax() == 3


def test_scores_of_anomalies_disagree_where_one_is_an_alert_and_have_no_losses() -> None:
    scored = Signature(inputs=[], output="score")
    tally = StepStatistics(0.5, Sides({"m:1": scored, "m:2": scored}, positive="fraud"))
    ids = ["a", "b", "c"]
    tally.add(batch_of(*ids, role="champion", version="m:1", outputs=[0.2, -0.4, 0.1]))
    tally.add(batch_of(*ids, role="shadow", version="m:2", outputs=[0.9, -0.1, -0.1]))
    assert (tally.pairs, tally.disagreements) == (3, 1)
    tally.add(batch_of("d", role="candidate", version="m:2", outputs=[0.3]))
    tally.learn({"a": "fraud", "d": "fine"}, "roc_auc")
    assert tally.labels == {"a": 1.0, "d": 0.0}
    assert not tally.have_losses
    assert tally.losses.counts == LossEProcess(0.5).counts
