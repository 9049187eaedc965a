"""Rollouts from the first version to the last, over a target that exists in memory and a clock that
is moved.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.delivery.desk import Desk, open_desk, reopened
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.event import acting
from treadle.platform.wiring import Embedded
from treadle.ports.target import Variant
from treadle.scope.model import Requirement

Open = Callable[..., Embedded]
ENDS = ("RolloutPromoted", "RolloutRolledBack", "RolloutAborted")


def variants(desk: Desk) -> dict[str, tuple[str, float]]:
    """What the target was told to serve: role → (version, weight)."""
    served: list[Variant] = desk.platform.target.specs["p"].variants
    return {variant.role: (variant.version, variant.weight) for variant in served}


def under_way(open_home: Open, step: str = "10%", **rollout: Any) -> tuple[Desk, str]:
    """A desk whose second version is at its first step, and the rollout's id."""
    desk = open_desk(open_home, **{"steps": [step, "100%"], **rollout})
    desk.live()
    return desk, desk.platform.delivery.deploy(version=desk.register().ref).id


def test_the_first_version_goes_straight_to_all_requests(open_home: Open) -> None:
    desk = open_desk(open_home)
    rollout = desk.platform.delivery.deploy(version=desk.register().ref)
    assert (rollout.state, rollout.steps, rollout.previous) == ("promoted", ["100%"], None)
    endpoint = desk.platform.delivery.endpoint(name="p")
    assert (endpoint.champion, endpoint.ready, endpoint.urls) == (1, True, ["memory:p"])
    assert variants(desk) == {"champion": ("p:1", 1.0)}
    assert desk.platform.registry.resolve(ref="p@champion").number == 1
    assert [e.type for e in desk.events("EndpointCreated", "RolloutStarted", *ENDS)] == [
        "EndpointCreated",
        "RolloutStarted",
        "RolloutPromoted",
    ]


def test_production_waits_for_approval(open_home: Open) -> None:
    desk = open_desk(open_home, approve=["production"])
    version = desk.register()
    rollout = desk.platform.delivery.deploy(version=version.ref)
    assert (rollout.state, rollout.step) == ("waiting", "waiting")
    assert desk.wait(days=30) == 0
    assert desk.platform.target.observe("p") is None
    with acting("alice"):
        desk.platform.registry.approve(model="p", number=1, comment="fine")
    desk.wait()
    assert desk.platform.delivery.rollout(id=rollout.id).state == "promoted"
    assert "approved by alice" in desk.platform.delivery.rollout(id=rollout.id).reason


def test_a_version_goes_through_shadow_and_canary_to_promotion(open_home: Open) -> None:
    desk = open_desk(open_home, steps=["shadow", "10%", "50%", "100%"])
    desk.live()
    rollout = desk.platform.delivery.deploy(version=desk.register().ref)
    assert (rollout.state, rollout.step, rollout.previous) == ("running", "shadow", 1)
    assert variants(desk) == {"champion": ("p:1", 1.0), "shadow": ("p:2", 0.0)}
    for role, step, weight in (("shadow", "10%", 0.1), ("candidate", "50%", 0.5)):
        assert desk.wait() == 0
        ids = desk.answer("champion")
        desk.answer(role, ids=ids)
        desk.wait()
        assert desk.platform.delivery.rollout(id=rollout.id).step == step
        assert variants(desk) == {"champion": ("p:1", 1 - weight), "candidate": ("p:2", weight)}
    desk.answer("candidate")
    desk.wait()
    ended = desk.platform.delivery.rollout(id=rollout.id)
    assert (ended.state, ended.ended_at) == ("promoted", desk.clock.now())
    assert variants(desk) == {"champion": ("p:2", 1.0)}
    assert desk.platform.registry.resolve(ref="p@champion").number == 2
    assert [e.body["step"] for e in desk.events("RolloutAdvanced")] == ["shadow", "10%", "50%"]
    assert desk.platform.events.verify().intact


def test_a_step_waits_for_its_requests_and_says_how_many_it_saw(open_home: Open) -> None:
    desk, id = under_way(open_home, min_requests=50)
    desk.answer("candidate", 49)
    desk.answer("champion", 500)
    desk.wait(days=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert (rollout.state, rollout.step) == ("running", "10%")
    assert "49 of 50 wanted requests seen" in rollout.reason
    assert {gate.gate: gate.decision for gate in rollout.gates} == {
        "errors": "promote",
        "losses": "promote",
        "evidence": "not enough evidence",
    }


def test_a_step_lasts_as_long_as_it_is_held(open_home: Open) -> None:
    desk, id = under_way(open_home, hold="2h")
    desk.answer("candidate")
    desk.wait(hours=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert (rollout.state, rollout.gates[-1].decision) == ("running", "hold")
    assert "the step lasts until 1997-05-19 02:00" in rollout.reason
    desk.wait(hours=1)
    assert desk.platform.delivery.rollout(id=id).state == "promoted"


def test_errors_in_the_inference_log_roll_a_candidate_back(open_home: Open) -> None:
    desk, id = under_way(open_home, hold="2h")
    desk.answer("champion", 90)
    desk.answer("candidate", 8, error="ValueError: unknown colour")
    assert desk.wait() > 0
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.state == "rolled back"
    assert "8 of 8 errors with 10% of the requests" in rollout.reason
    assert variants(desk) == {"champion": ("p:1", 1.0)}
    (event,) = desk.events("RolloutRolledBack")
    assert (event.body["step"], event.body["number"]) == ("10%", 2)
    assert desk.platform.registry.resolve(ref="p@champion").number == 1


def test_a_candidate_that_fails_hundreds_of_times_between_two_looks_is_rolled_back(
    open_home: Open,
) -> None:
    desk, id = under_way(open_home)
    desk.answer("candidate", 500, error="ValueError: unknown colour")
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "rolled back"


def test_errors_of_both_alike_roll_nothing_back(open_home: Open) -> None:
    desk, id = under_way(open_home, step="50%")
    desk.answer("champion", 60, error="bad row")
    desk.answer("candidate", 60, error="bad row")
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "promoted"


def test_what_an_earlier_step_showed_does_not_count_in_the_next(open_home: Open) -> None:
    desk, id = under_way(open_home, steps=["shadow", "10%", "100%"])
    desk.answer("shadow", ids=desk.answer("champion"))
    desk.wait()
    desk.wait(hours=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.step == "10%"
    assert "0 of 50 wanted requests seen" in rollout.reason


def test_a_shadow_that_is_worse_on_labelled_requests_is_rolled_back(open_home: Open) -> None:
    desk, id = under_way(open_home, step="shadow", min_requests=100, min_labels=100, hold="1h")
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 300)
    ids = desk.answer("champion", 300, score=lambda n: truth[n] * 0.5 + 0.5 * random.random())
    desk.answer("shadow", 300, ids=ids, score=lambda _: random.random())
    desk.label({id: float(value) for id, value in zip(ids, truth, strict=True)})
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "running"
    desk.wait(hours=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.state == "rolled back"
    assert "on 300 labelled requests" in rollout.reason


def test_labels_of_one_class_only_do_not_roll_a_candidate_back(open_home: Open) -> None:
    desk, id = under_way(open_home, min_labels=20)
    desk.label(dict.fromkeys(desk.answer("candidate", score=lambda n: n / 60), 0.0))
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "promoted"


def test_a_slow_candidate_is_rolled_back(open_home: Open) -> None:
    bound = Requirement(id="L", metric="latency_ms.p99", at_most=15)
    desk, id = under_way(open_home, requirements=[bound])
    desk.answer("champion", micros=5_000)
    desk.answer("candidate", micros=50_000)
    desk.wait()
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.state == "rolled back"
    assert "latency_ms.p99 50.1 ms, the champion's 5.0 ms (latency_ms.p99 ≤ 15)" in rollout.reason


def test_an_aborted_rollout_leaves_the_champion_alone(open_home: Open) -> None:
    desk, id = under_way(open_home)
    with acting("bob"):
        assert desk.platform.delivery.abort(endpoint="p", reason="a hunch").state == "aborted"
    assert variants(desk) == {"champion": ("p:1", 1.0)}
    desk.answer("candidate", 500)
    assert desk.wait(days=1) == 0
    assert desk.platform.delivery.rollout(id=id).reason == "a hunch"
    with pytest.raises(Conflict, match="Endpoint 'p' has no rollout under way"):
        desk.platform.delivery.abort(endpoint="p", reason="again")


def test_who_aborts_is_named_in_the_event(open_home: Open) -> None:
    desk = open_desk(open_home, steps=["10%", "100%"])
    desk.live()
    with acting("alice"):
        desk.platform.delivery.deploy(version=desk.register().ref)
    with acting("bob"):
        desk.platform.delivery.abort(endpoint="p", reason="a hunch")
    (event,) = desk.events("RolloutAborted")
    assert event.actor == "bob"


def promoted_twice(open_home: Open) -> Desk:
    desk, _ = under_way(open_home)
    desk.answer("candidate")
    desk.wait()
    assert desk.platform.delivery.endpoint(name="p").champion == 2
    return desk


def test_rolling_back_after_promotion_returns_to_the_version_before(open_home: Open) -> None:
    desk = promoted_twice(open_home)
    with acting("bob"):
        assert desk.platform.delivery.roll_back(endpoint="p", reason="complaints").champion == 1
    assert variants(desk) == {"champion": ("p:1", 1.0)}
    assert desk.platform.registry.resolve(ref="p@champion").number == 1
    (event,) = desk.events("RolloutRolledBack")
    assert (event.actor, event.body["step"], event.body["reason"]) == (
        "bob",
        "after promotion",
        "complaints",
    )
    with pytest.raises(Conflict, match="none to go back to"):
        desk.platform.delivery.roll_back(endpoint="p", reason="again")


def test_rolling_back_during_a_rollout_keeps_the_champion(open_home: Open) -> None:
    desk = promoted_twice(open_home)
    desk.platform.delivery.deploy(version=desk.register().ref)
    assert desk.platform.delivery.roll_back(endpoint="p", reason="stop").champion == 2
    assert variants(desk) == {"champion": ("p:2", 1.0)}
    assert desk.platform.delivery.rollouts(endpoint="p", limit=1)[0].state == "aborted"


def test_one_version_only_cannot_be_rolled_back(open_home: Open) -> None:
    desk = open_desk(open_home)
    desk.live()
    before = len(desk.events())
    with pytest.raises(Conflict, match="has had one version only, so there is none to go back to"):
        desk.platform.delivery.roll_back(endpoint="p", reason="try")
    assert len(desk.events()) == before


def test_a_second_rollout_is_refused_while_one_runs(open_home: Open) -> None:
    desk, _ = under_way(open_home)
    before = len(desk.events())
    third = desk.register()
    with pytest.raises(
        Conflict,
        match=r"'p' is at step '10%' of rolling out p:2\. Wait for it, or: treadle rollback p",
    ):
        desk.platform.delivery.deploy(version=third.ref)
    assert [e.type for e in desk.events()[before:]] == ["VersionRegistered"]


def test_a_rollout_that_waits_gives_way_to_a_newer_version(open_home: Open) -> None:
    desk = open_desk(open_home, approve=["production"])
    old = desk.platform.delivery.deploy(version=desk.register().ref)
    new = desk.platform.delivery.deploy(version=desk.register().ref)
    assert desk.platform.delivery.rollout(id=old.id).state == "aborted"
    assert desk.platform.delivery.rollout(id=old.id).reason == "a newer version came first"
    desk.platform.registry.approve(model="p", number=1)
    assert desk.wait() == 0
    desk.platform.registry.approve(model="p", number=2)
    desk.wait()
    assert desk.platform.delivery.rollout(id=new.id).state == "promoted"


@pytest.mark.parametrize("step", ["shadow", "10%"])
def test_another_process_goes_on_where_the_first_stopped(open_home: Open, step: str) -> None:
    desk, id = under_way(open_home, step=step)
    role = "shadow" if step == "shadow" else "candidate"
    desk.answer(role, 30)
    desk.wait()
    desk.platform.close()
    second = reopened(desk, open_home)
    second.wait()
    assert variants(second)[role][0] == "p:2"
    second.answer(role, 30)
    second.wait()
    assert second.platform.delivery.rollout(id=id).state == "promoted"
    assert "60 of 50 wanted requests seen" in second.platform.delivery.rollout(id=id).reason


def test_two_processes_take_each_step_once(open_home: Open) -> None:
    desk, _ = under_way(open_home, steps=["10%", "50%", "100%"])
    other = reopened(desk, open_home)
    for _ in range(2):
        desk.answer("candidate")
        for platform in (desk.platform, other.platform) * 3:
            platform.delivery.reconcile()
    assert [e.body["step"] for e in desk.events("RolloutAdvanced")] == ["10%", "50%"]
    assert len(desk.events("RolloutPromoted")) == 2
    assert desk.platform.delivery.endpoint(name="p").champion == 2


def test_the_alias_follows_only_the_endpoint_of_the_models_name(open_home: Open) -> None:
    desk = open_desk(open_home)
    desk.live()
    desk.platform.delivery.deploy(version=desk.register().ref, endpoint="elsewhere")
    assert desk.platform.delivery.endpoint(name="elsewhere").champion == 2
    assert desk.platform.registry.resolve(ref="p@champion").number == 1
    (moved,) = desk.events("AliasMoved")
    assert moved.cause == desk.events("RolloutPromoted")[0].number


def test_reconciling_when_nothing_changed_does_nothing(open_home: Open) -> None:
    desk, _ = under_way(open_home)
    desk.wait()
    before = len(desk.events())
    assert [desk.platform.delivery.reconcile() for _ in range(3)] == [0, 0, 0]
    assert len(desk.events()) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": ["ten"]}, "ten"),
        ({"steps": ["150%", "100%"]}, "150%"),
        ({"steps": ["0%", "100%"]}, "0%"),
        ({"hold": "soon"}, "'soon' is not a duration"),
    ],
)
def test_a_deployment_that_makes_no_sense_leaves_nothing(
    open_home: Open, given: dict[str, object], message: str
) -> None:
    desk = open_desk(open_home)
    version = desk.register()
    with pytest.raises(Invalid, match=message):
        desk.platform.delivery.deploy(version=version.ref, **given)  # type: ignore[arg-type]
    assert desk.platform.delivery.endpoints() == []
    assert [e.type for e in desk.events()] == [
        "ProjectDeclared",
        "ModelRegistered",
        "VersionRegistered",
    ]


@pytest.mark.parametrize("name", ["a/b", "../p", ".p"])
def test_an_endpoint_that_cannot_be_is_refused_before_anything_is_written(
    open_home: Open, name: str
) -> None:
    desk = Desk(
        open_home(manual_clock=True)
    )  # over real processes, which such a name would make impossible
    desk.declare()
    version = desk.register()
    with pytest.raises(Invalid, match="cannot name an endpoint"):
        desk.platform.delivery.deploy(version=version.ref, endpoint=name)
    assert desk.platform.delivery.endpoints() == []
    assert desk.platform.delivery.reconcile() == 0


def test_a_removed_endpoint_is_gone_and_the_removal_is_on_record(open_home: Open) -> None:
    desk, id = under_way(open_home)
    before = len(desk.events())
    desk.platform.delivery.remove(endpoint="p")
    assert desk.platform.target.endpoints() == []
    assert desk.platform.delivery.rollout(id=id).state == "aborted"
    with pytest.raises(NotFound, match="There is no endpoint 'p'"):
        desk.platform.delivery.endpoint(name="p")
    assert {e.subject for e in desk.events()[before:]} == {"endpoint:p"}


def test_a_paused_rollout_stays_and_goes_on_when_it_is_resumed(open_home: Open) -> None:
    desk, id = under_way(open_home, steps=["10%", "50%", "100%"])
    with acting("bob"):
        assert desk.platform.delivery.pause(endpoint="p", reason="a holiday").state == "paused"
    desk.answer("candidate", 500)
    assert desk.wait(days=3) == 0
    assert variants(desk)["candidate"] == ("p:2", 0.1)
    with pytest.raises(Conflict, match="only one that is running can be paused"):
        desk.platform.delivery.pause(endpoint="p", reason="again")
    desk.platform.delivery.resume(endpoint="p", reason="back at work")
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).step == "50%"
    assert [(e.type, e.actor, e.body["reason"]) for e in desk.events("RolloutPaused")] == [
        ("RolloutPaused", "bob", "a holiday")
    ]


def test_a_paused_rollout_that_fails_is_rolled_back(open_home: Open) -> None:
    desk, id = under_way(open_home)
    desk.platform.delivery.pause(endpoint="p", reason="lunch")
    desk.answer("candidate", 50, error="broke")
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "rolled back"


def test_a_person_may_promote_what_its_gates_still_wait_for(open_home: Open) -> None:
    desk, id = under_way(open_home)
    with acting("bob"):
        assert (
            desk.platform.delivery.promote(endpoint="p", reason="it mends an outage").state
            == "promoted"
        )
    assert variants(desk) == {"champion": ("p:2", 1.0)}
    event = desk.events("RolloutPromoted")[-1]
    assert (event.actor, event.body["reason"]) == ("bob", "it mends an outage")
    with pytest.raises(Conflict, match="no rollout under way"):
        desk.platform.delivery.promote(endpoint="p", reason="again")
    assert desk.platform.delivery.rollout(id=id).ended_at is not None


def test_what_waits_for_an_approval_cannot_be_promoted_past_it(open_home: Open) -> None:
    desk = open_desk(open_home, approve=["production"])
    desk.platform.delivery.deploy(version=desk.register().ref)
    with pytest.raises(Conflict, match="waits for an approval"):
        desk.platform.delivery.promote(endpoint="p", reason="hurry")


def test_nothing_is_released_in_a_freeze_and_what_fails_still_rolls_back(open_home: Open) -> None:
    desk = open_desk(open_home)
    desk.live()
    desk.declare(steps=["10%", "50%", "100%"], freeze=["1997-05-19 to 1997-05-20"])
    id = desk.platform.delivery.deploy(version=desk.register().ref).id
    assert desk.platform.delivery.rollout(id=id).state == "waiting"
    desk.wait(days=2)
    assert desk.platform.delivery.rollout(id=id).step == "10%"
    desk.declare(steps=["10%", "50%", "100%"], freeze=["1997-05-21 to 1997-05-22"])
    desk.answer("candidate")
    desk.wait()
    rollout = desk.platform.delivery.rollout(id=id)
    assert (rollout.step, "frozen until 1997-05-23 00:00" in rollout.reason) == ("10%", True)
    desk.answer("candidate", 40, error="broke")
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "rolled back"


def test_whoever_deploys_cannot_approve_where_two_people_are_wanted(open_home: Open) -> None:
    desk = open_desk(open_home, approve=["production"], four_eyes=True)
    with acting("alice"):
        rollout = desk.platform.delivery.deploy(version=desk.register().ref)
        desk.platform.registry.approve(model="p", number=1)
    desk.wait()
    assert desk.platform.delivery.rollout(id=rollout.id).state == "waiting"
    with acting("bob"):
        second = desk.platform.delivery.deploy(version="p:1")
    desk.wait()
    assert desk.platform.delivery.rollout(id=second.id).state == "promoted"


def test_a_step_waits_for_late_labels_and_judges_by_them(open_home: Open) -> None:
    desk, id = under_way(
        open_home, label_delay="2d", wait_for_labels="1d", min_labels=100, min_requests=100
    )
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 600)
    ids = desk.answer("candidate", 600, score=lambda _: random.random())
    desk.answer("champion", 1800)
    desk.wait(days=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.state == "running"
    assert "0 labelled requests" in rollout.reason
    assert (
        "labels are due by 1997-05-21 00:00 and waited for until 1997-05-22 00:00" in rollout.reason
    )
    desk.label({id: float(value) for id, value in zip(ids, truth, strict=True)})
    desk.wait()
    rollout = desk.platform.delivery.rollout(id=id)
    assert (rollout.state, "on 600 labelled requests" in rollout.reason) == ("rolled back", True)


def test_a_candidate_whose_answers_are_further_from_the_truth_is_found_as_labels_come(
    open_home: Open,
) -> None:
    desk, id = under_way(
        open_home,
        step="50%",
        requirements=[Requirement(id="B", metric="brier", at_most=0.9)],
        hold="30d",
    )
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 120)
    for _ in range(10):
        its = desk.answer("champion", 120, score=lambda n: 0.1 + 0.8 * truth[n])
        mine = desk.answer("candidate", 120, score=lambda n: 0.4 + 0.2 * truth[n])
        desk.label({id: float(truth[n]) for ids in (its, mine) for n, id in enumerate(ids)})
        desk.wait(hours=1)
    rollout = desk.platform.delivery.rollout(id=id)
    assert rollout.state == "rolled back"
    assert "a mean loss of 0.16" in rollout.reason


def test_a_step_with_a_margin_says_when_it_will_know(open_home: Open) -> None:
    desk, id = under_way(open_home, error_margin="2%")
    desk.clock.advance(timedelta(hours=1))
    desk.answer("candidate", 100)
    desk.answer("champion", 900)
    desk.wait()
    rollout = desk.platform.delivery.rollout(id=id)
    assert (rollout.state, "at the present rate by" in rollout.reason) == ("running", True)
    desk.answer("candidate", 2000)
    desk.answer("champion", 18000)
    desk.wait()
    assert desk.platform.delivery.rollout(id=id).state == "promoted"
