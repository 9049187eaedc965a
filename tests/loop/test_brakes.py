"""Nothing trains unless every brake is off, and the brake that holds says so."""

import pytest

from tests.loop.conftest import Wheel


def test_drift_starts_a_training_in_the_loops_name(wheel: Wheel) -> None:
    decision = wheel.drifts()
    (training,) = wheel.platform.training.find()
    assert (decision.outcome, decision.reason) == ("acted", f"started training {training.run}")
    (started,) = wheel.platform.events.history(type="TrainingStarted")
    assert (started.actor, started.cause) == ("loop: retrain on drift", decision.event)
    assert wheel.platform.tracking.get(run=training.run).name == "retrain: DriftFound"


def test_a_missed_requirement_and_an_old_model_start_trainings_too(wheel: Wheel) -> None:
    assert (wheel.misses().outcome, wheel.misses().outcome) == ("acted", "braked")
    wheel.end_trainings()
    assert wheel.ages().outcome == "acted"


def test_a_trigger_that_is_not_declared_brakes(wheel: Wheel) -> None:
    wheel.declare(when=["missed requirement"])
    decision = wheel.drifts()
    assert (decision.outcome, decision.reason) == (
        "braked",
        "'drift' is not among the declared triggers",
    )
    wheel.declare(when=["drift"])
    assert wheel.misses().reason == "'missed requirement' is not among the declared triggers"
    assert wheel.trainings() == 0


def test_a_monitors_finding_sets_off_what_it_says(wheel: Wheel) -> None:
    left = wheel.raises(None)
    assert left.outcome == "nothing to do"
    assert left.reason == "monitor 'toy' leaves it to people: Toys have broken."
    assert wheel.raises("stale").reason == "no age is declared from which a model is stale"
    wheel.declare(when=["missed requirement"])
    assert wheel.raises("drift").reason == "'drift' is not among the declared triggers"
    assert wheel.raises("missed requirement").outcome == "acted"


def test_a_running_training_brakes(wheel: Wheel) -> None:
    wheel.platform.training.start(project="p")
    assert wheel.drifts().reason == "a training is running"
    wheel.end_trainings()
    assert wheel.drifts().outcome == "acted"


def test_another_projects_training_brakes_nobody(wheel: Wheel) -> None:
    wheel.declare(name="q")
    wheel.platform.training.start(project="q")
    assert wheel.drifts().outcome == "acted"


@pytest.mark.parametrize("hours, outcome", [(0, "braked"), (23.9, "braked"), (24, "acted")])
def test_the_cooldown_brakes_until_it_is_over(wheel: Wheel, hours: float, outcome: str) -> None:
    wheel.declare(cooldown="1d")
    assert wheel.drifts().outcome == "acted"
    wheel.end_trainings()
    wheel.pass_time(hours=hours)
    decision = wheel.drifts()
    assert decision.outcome == outcome
    if outcome == "braked":
        assert f"was {hours:.1f} hours ago, the cooldown is 1.0 days" in decision.reason


def test_a_new_champion_is_left_in_peace_for_the_cooldown(wheel: Wheel) -> None:
    wheel.declare(cooldown="1d")
    wheel.version()
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    wheel.pass_time(hours=2)
    assert "the champion was 2.0 hours ago" in wheel.drifts().reason
    wheel.pass_time(hours=22)
    assert wheel.drifts().outcome == "acted"


def test_a_person_training_does_not_use_up_the_loops_cooldown(wheel: Wheel) -> None:
    wheel.declare(cooldown="1d")
    wheel.platform.training.start(project="p")
    wheel.end_trainings()
    assert wheel.drifts().outcome == "acted"


def test_the_budget_brakes_until_a_training_is_thirty_days_old(wheel: Wheel) -> None:
    wheel.declare(budget_per_month=2)
    for _ in range(2):
        assert wheel.drifts().outcome == "acted"
        wheel.end_trainings()
        wheel.pass_time(days=1)
    assert wheel.drifts().reason == "2 trainings were started in the last 30 days, the budget is 2"
    wheel.pass_time(days=28)
    assert wheel.drifts().outcome == "acted"
    assert wheel.trainings() == 3


def test_a_budget_of_nothing_never_trains(wheel: Wheel) -> None:
    wheel.declare(budget_per_month=0)
    assert wheel.drifts().outcome == "braked"


def test_a_chain_of_causes_that_is_too_long_brakes(wheel: Wheel) -> None:
    wheel.declare(max_depth=2)
    cause = wheel.platform.events.last_number()
    shallow, deep = wheel.drifts(cause=cause), wheel.drifts(cause=wheel.drifts(cause=cause).event)
    assert shallow.outcome == "acted"
    assert (deep.outcome, deep.reason) == (
        "braked",
        "the chain of causes is 2 long, the limit is 2",
    )


@pytest.mark.parametrize("approve, steps", [(True, ["100%"]), (False, ["10%", "100%"])])
def test_a_rollout_under_way_brakes(wheel: Wheel, approve: bool, steps: list[str]) -> None:
    wheel.version("a")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    wheel.declare(approve=approve, steps=steps)
    wheel.version("b")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    assert wheel.drifts().reason == "a rollout is under way"
    wheel.platform.delivery.abort(endpoint="p", reason="enough")
    assert wheel.drifts().outcome == "acted"


def test_an_endpoint_that_is_not_the_models_own_retrains_nothing(wheel: Wheel) -> None:
    version = wheel.version()
    wheel.loop.react()
    wheel.platform.delivery.deploy(version=version, endpoint="frozen")
    assert (
        wheel.drifts("frozen").reason == "endpoint 'frozen' is not the one that is kept up to date"
    )
    assert wheel.drifts("p").outcome == "acted"
