"""Each event is acted on once, whatever is repeated, and every decision explains itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.test_service import TRAINING
from tests.loop.conftest import Wheel
from tests.pipelines.project import declare, labelled, settle, write
from treadle.evaluation.model import VerdictGiven
from treadle.events.tables import event_cursors, events
from treadle.kernel.errors import Unavailable
from treadle.platform.wiring import Embedded
from treadle.training.model import Training


def forget(platform: Embedded) -> None:
    """As after a crash between a command and its confirmation: the loop sees every event again."""
    with platform.database.write() as transaction:
        transaction.execute(event_cursors.update().values(number=0))


def judged(wheel: Wheel, outcome: Any) -> VerdictGiven:
    facts = {"run": "run_a", "project": "p", "package": "a" * 64, "holdout": "h" * 64}
    return VerdictGiven(verdict=wheel.verdict(), **facts, outcome=outcome, reason="because of R1")


def test_one_event_starts_one_training_however_often_it_is_seen(wheel: Wheel) -> None:
    event = wheel.drifts().event
    wheel.end_trainings()
    for _ in range(3):
        forget(wheel.platform)
        wheel.loop.react()
    assert wheel.trainings() == 1
    assert len(wheel.platform.pipelines.find()) == 1
    again = next(decision for decision in wheel.loop.decisions() if decision.event == event)
    assert (again.outcome, again.reason) == (
        "nothing to do",
        "this event has started a training already",
    )


def test_one_verdict_makes_one_version_and_one_rollout_however_often_it_is_seen(
    wheel: Wheel,
) -> None:
    decision = wheel.decided(judged(wheel, "passed"))
    assert decision.reason == "registered p:1"
    for _ in range(3):
        forget(wheel.platform)
        wheel.loop.react()
    assert len(wheel.platform.registry.find()) == 1
    assert len(wheel.platform.delivery.rollouts()) == 1


def test_an_event_that_was_seen_is_not_seen_again(wheel: Wheel) -> None:
    wheel.drifts()
    wheel.end_trainings()
    assert wheel.loop.react() == 0
    assert wheel.loop.react() == 0


def test_one_rule_decides_once_about_one_event(wheel: Wheel) -> None:
    wheel.drifts()
    forget(wheel.platform)
    wheel.loop.react()
    decisions = [(decision.rule, decision.event) for decision in wheel.loop.decisions()]
    assert len(decisions) == len(set(decisions)) == 1


@pytest.mark.parametrize("outcome", ["refused", "not enough evidence"])
def test_what_did_not_pass_is_not_registered(wheel: Wheel, outcome: str) -> None:
    decision = wheel.decided(judged(wheel, outcome))
    assert decision.reason == f"the candidate is not registered: {outcome}: because of R1"
    assert wheel.platform.registry.find() == []


def test_a_version_goes_live_in_the_loops_name(wheel: Wheel) -> None:
    wheel.version()
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    assert wheel.platform.delivery.endpoint(name="p").champion == 1
    (promoted,) = wheel.platform.events.history(type="RolloutPromoted")
    assert promoted.actor == "loop: roll out what was registered"
    thread = wheel.platform.events.why(subject="p@champion")
    assert thread.events[-1].type == "VersionRegistered"


def test_a_rule_that_fails_says_why_and_lets_the_next_event_through(wheel: Wheel) -> None:
    decision = wheel.drifts(project="nowhere", endpoint="nowhere")
    assert (decision.outcome, decision.rule) == ("failed", "retrain on drift")
    assert decision.reason.startswith("There is no project 'nowhere' here.")
    assert wheel.drifts().outcome == "acted"


def test_a_pipeline_that_cannot_be_read_fails_the_decision_and_not_the_loop(
    wheel: Wheel, tmp_path: Path
) -> None:
    (tmp_path / "project" / "pipeline.py").write_bytes(b"# caf\xe9\n")
    assert wheel.drifts().outcome == "failed"
    assert wheel.loop.react() == 0


def test_what_may_succeed_later_is_tried_again(
    wheel: Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unavailable and Busy may pass, so no event must be lost to them."""
    home = wheel.platform
    start, failures = home.training.start, iter([Unavailable("The store does not answer.")])

    def away(**arguments: Any) -> Training:
        for failure in failures:
            raise failure
        return start(**arguments)

    monkeypatch.setattr(home.training, "start", away)
    event = wheel.happens(wheel.drift())
    for _ in range(3):
        try:
            home.loop.react()
        except Unavailable:
            assert wheel.trainings() == 0
    assert wheel.trainings() == 1
    assert [d.outcome for d in home.loop.decisions() if d.event == event] == ["acted"]


def test_a_schedule_fires_once_when_its_moment_has_passed(wheel: Wheel) -> None:
    wheel.declare(when=["0 3 * * *"])
    wheel.loop.react()
    wheel.pass_time(hours=2)
    wheel.loop.react()
    assert wheel.platform.events.history(type="ScheduleDue") == []
    wheel.pass_time(hours=1)
    for _ in range(5):
        wheel.loop.react()
        wheel.pass_time(minutes=7)
    (due,) = wheel.platform.events.history(type="ScheduleDue")
    (decision,) = wheel.loop.decisions()
    assert (decision.event, decision.rule, decision.outcome) == (
        due.number,
        "retrain on schedule",
        "acted",
    )


def test_moments_that_were_slept_through_fire_once(wheel: Wheel) -> None:
    wheel.declare(when=["0 3 * * *"])
    wheel.loop.react()
    wheel.pass_time(days=10)
    for _ in range(3):
        wheel.loop.react()
    assert len(wheel.platform.events.history(type="ScheduleDue")) == 1


def test_a_schedule_fires_every_day_at_its_moment(wheel: Wheel) -> None:
    wheel.declare(when=["0 3 * * *"])
    for _ in range(24 * 3):
        wheel.loop.react()
        wheel.pass_time(hours=1)
    wheel.loop.react()
    fired = [
        record.at.strftime("%a %H") for record in wheel.platform.events.history(type="ScheduleDue")
    ]
    assert fired == ["Mon 03", "Tue 03", "Wed 03"]


def test_a_schedule_survives_looks_that_are_seconds_apart(wheel: Wheel) -> None:
    wheel.declare(when=["*/5 * * * *"])
    for _ in range(12 * 11):
        wheel.loop.react()
        wheel.pass_time(seconds=5)
    assert len(wheel.platform.events.history(type="ScheduleDue")) == 2


def test_a_schedule_that_is_declared_now_does_not_fire_for_the_past(wheel: Wheel) -> None:
    wheel.pass_time(days=3)
    wheel.declare(when=["* * * * *"])
    wheel.loop.react()
    assert wheel.platform.events.history(type="ScheduleDue") == []


def test_a_wheel_that_has_not_turned_waits_for_nobody(wheel: Wheel) -> None:
    found = wheel.loop.status(project="p")
    assert (found.training, found.verdict, found.rollout, found.champion, found.window) == (
        None,
    ) * 5
    assert (found.waiting, found.endpoints, found.decisions) == ([], [], [])
    assert [(status.id, status.met) for status in found.requirements] == [("R1", None)]


def test_the_wheel_says_what_waits_for_whom(wheel: Wheel) -> None:
    wheel.declare(approve=True)
    wheel.version()
    wheel.loop.react()
    training = wheel.platform.training.start(project="p")
    assert wheel.loop.status(project="p").waiting == [
        "p:1 waits for an approver: treadle approve p:1",
        f"training {training.run} waits for its pipeline {training.pipeline}",
    ]
    wheel.platform.registry.approve(model="p", number=1)
    wheel.platform.delivery.reconcile()
    wheel.end_trainings()
    found = wheel.loop.status(project="p")
    assert found.waiting == []
    assert found.champion is not None
    assert found.champion.ref == "p:1"
    assert [endpoint.champion for endpoint in found.endpoints] == [1]


def test_a_version_waits_while_another_ones_rollout_is_paused(wheel: Wheel) -> None:
    wheel.declare(steps=["10%", "100%"])
    for name in ("a", "b"):
        wheel.version(name)
        wheel.loop.react()
        wheel.platform.delivery.reconcile()
    wheel.platform.delivery.pause(endpoint="p", reason="a holiday")
    wheel.version("c")
    wheel.loop.react()
    newest = wheel.loop.decisions()[0]
    assert (newest.outcome, newest.reason) == (
        "braked",
        "another rollout is under way; p:3 follows when that has ended",
    )
    assert wheel.loop.status(project="p").waiting == [
        "p:2 is paused at step '10%' of p: treadle rollout resume p"
    ]


def test_the_wheel_shows_its_newest_decisions_first(wheel: Wheel) -> None:
    first, second = wheel.drifts(), wheel.drifts()
    assert wheel.loop.status(project="p").decisions == [second, first]


def test_the_wheel_of_one_project_shows_nothing_of_anothers(wheel: Wheel) -> None:
    wheel.declare(name="q")
    decision = wheel.drifts()
    assert wheel.loop.status(project="p").decisions == [decision]
    other = wheel.loop.status(project="q")
    assert other.decisions == []
    assert [record.body["project"] for record in other.recent] == ["q"]


def test_a_whole_turn_repeated_after_a_crash_judges_once(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    platform = open_home(target="memory:", manual_clock=True)
    declare(platform, write(tmp_path / "p", TRAINING, rows__csv="y\n1\n"), data=labelled())
    platform.training.start(project="p")
    settle(platform)
    forget(platform)
    settle(platform)
    assert len(platform.evaluation.find()) == 1
    assert [version.ref for version in platform.registry.find()] == ["p:1"]
    assert [rollout.state for rollout in platform.delivery.rollouts()] == ["promoted"]


def test_an_event_that_cannot_be_read_is_told_and_stops_nobody(wheel: Wheel) -> None:
    poison = wheel.happens(wheel.drift())
    with wheel.platform.database.write() as transaction:
        transaction.execute(
            events.update().where(events.c.number == poison).values(body='{"from": "another age"}')
        )
    after = wheel.drifts()
    assert after.outcome == "acted"
    (told,) = [decision for decision in wheel.loop.decisions() if decision.event == poison]
    assert told.outcome == "failed"
    assert "another age" in told.reason or "from" in told.reason


def test_one_stage_in_trouble_stops_no_other(wheel: Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise ZeroDivisionError("a defect in one stage")

    monkeypatch.setattr(wheel.platform.pipelines, "reconcile", broken)
    event = wheel.happens(wheel.drift())
    wheel.platform.reconcile()
    assert [decision.outcome for decision in wheel.loop.decisions() if decision.event == event] == [
        "acted"
    ]
