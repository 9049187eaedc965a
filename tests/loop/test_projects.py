"""A project may have several models and endpoints, whatever they are called."""

from tests.loop.conftest import Wheel
from treadle.evaluation.model import VerdictGiven
from treadle.kernel.event import acting


def second_model(wheel: Wheel, name: str = "west") -> None:
    """A model of the project ``p`` that is not named like it, live on the endpoint of its name."""
    version = wheel.platform.registry.register(verdict=wheel.verdict("a"), model=name)
    wheel.platform.delivery.deploy(version=version.ref)
    wheel.platform.delivery.reconcile()


def passes(wheel: Wheel, name: str, cause: int) -> str:
    """A candidate passes in a training that an event led to. Gives what the loop says."""
    judged = {"verdict": wheel.verdict(name), "run": f"run_{name}", "package": name * 64}
    outcome = {"holdout": "h" * 64, "outcome": "passed", "reason": ""}
    event = VerdictGiven(**judged, **outcome, project="p")  # type: ignore[arg-type]
    return wheel.decided(event, cause=cause).reason


def test_drift_at_a_second_model_leads_to_its_next_version(wheel: Wheel) -> None:
    second_model(wheel)
    drift = wheel.drifts("west")
    assert drift.outcome == "acted"
    assert passes(wheel, "b", drift.event) == "registered west:2"
    wheel.platform.reconcile()
    assert wheel.platform.delivery.endpoint(name="west").champion == 2


def test_a_training_that_a_person_started_makes_a_version_of_the_projects_own_model(
    wheel: Wheel,
) -> None:
    second_model(wheel)
    cause = wheel.platform.events.last_number()
    assert passes(wheel, "b", cause) == "registered p:1"


def test_a_rollout_of_one_model_does_not_brake_the_training_of_another(wheel: Wheel) -> None:
    second_model(wheel)
    wheel.version("b")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    wheel.declare(steps=["10%", "100%"])
    wheel.version("c")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    assert wheel.drifts("p").reason == "a rollout is under way"
    assert wheel.drifts("west").outcome == "acted"


def test_the_cooldown_counts_from_the_champion_of_the_model_that_drifts(wheel: Wheel) -> None:
    wheel.declare(cooldown="1d")
    second_model(wheel)
    wheel.pass_time(days=2)
    wheel.version("b")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    wheel.pass_time(hours=2)
    assert "the champion was 2.0 hours ago" in wheel.drifts("p").reason
    assert wheel.drifts("west").outcome == "acted"


def test_the_status_of_a_project_shows_its_models_whatever_they_are_called(wheel: Wheel) -> None:
    wheel.declare(name="q")
    second_model(wheel)
    decision = wheel.drifts("west")
    status = wheel.loop.status(project="p")
    assert status.champion is not None
    assert status.champion.ref == "west:1"
    assert status.rollout is not None
    assert status.rollout.endpoint == "west"
    assert decision in status.decisions
    assert {"RolloutPromoted", "AliasMoved", "DriftFound"} <= {r.type for r in status.recent}
    assert {record.project for record in status.recent} == {"p"}
    other = wheel.loop.status(project="q")
    assert ([r.type for r in other.recent], other.decisions) == (["ProjectDeclared"], [])


def test_a_second_model_does_not_hide_the_one_that_is_named_like_its_project(wheel: Wheel) -> None:
    second_model(wheel, name="a-first")
    wheel.version("b")
    wheel.loop.react()
    wheel.platform.delivery.reconcile()
    champion = wheel.loop.status(project="p").champion
    assert champion is not None
    assert champion.ref == "p:1"


def test_the_budget_counts_the_trainings_of_its_own_project(wheel: Wheel) -> None:
    wheel.declare(name="q", budget_per_month=1)
    wheel.declare(budget_per_month=1)
    assert wheel.drifts("q", project="q").outcome == "acted"
    assert wheel.drifts().outcome == "acted"
    wheel.end_trainings()
    assert "the budget is 1" in wheel.drifts().reason


def test_what_belongs_to_no_project_is_shown_by_none(wheel: Wheel) -> None:
    with acting("root"):
        wheel.platform.access.create_token(name="laptop", role="admin")
    assert wheel.platform.events.history()[-1].type == "TokenCreated"
    assert "TokenCreated" not in {r.type for r in wheel.loop.status(project="p").recent}
