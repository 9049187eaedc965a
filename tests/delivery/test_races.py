"""What another process did meanwhile stays done."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.delivery.desk import open_desk
from treadle.kernel.errors import Conflict, Invalid
from treadle.platform.wiring import Embedded
from treadle.ports.target import EndpointSpec, Variant
from treadle.scope.model import About, ProjectSpec

Open = Callable[..., Embedded]


def test_an_aborted_rollout_does_not_come_back_to_life(open_home: Open) -> None:
    desk = open_desk(open_home, steps=["shadow", "10%", "100%"])
    desk.live()
    delivery = desk.platform.delivery
    stale = delivery.deploy(version=desk.register().ref)
    delivery.abort(endpoint="p", reason="somebody thought better of it")
    delivery._enter(stale, 1, "a tick that had read the rollout before")
    assert delivery.rollout(id=stale.id).state == "aborted"
    assert [v.role for v in desk.platform.target.specs["p"].variants] == ["champion"]


def test_an_endpoint_that_nobody_wants_any_more_ends(open_home: Open) -> None:
    desk = open_desk(open_home)
    desk.live()
    variants = [Variant(version="p:1", package="p" * 64)]
    desk.platform.target.apply(EndpointSpec(name="left-over", generation=1, variants=variants))
    assert desk.wait() == 1
    assert desk.platform.target.endpoints() == ["p"]


def test_a_project_cannot_ship_under_anothers_name(open_home: Open, tmp_path: Path) -> None:
    desk = open_desk(open_home)
    desk.live()
    lax = ProjectSpec(project=About(name="lax"))
    desk.platform.scope.declare_in(spec=lax, folder=str(tmp_path))
    desk.name = "lax"
    with pytest.raises(Conflict, match="Endpoint 'p' belongs to project 'p', not 'lax'"):
        desk.platform.delivery.deploy(version=desk.register().ref, endpoint="p")


@pytest.mark.parametrize("steps", [["50%", "10%", "100%"], ["10%"], ["10%", "shadow", "100%"], []])
def test_steps_that_do_not_lead_to_all_requests_are_refused(
    open_home: Open, steps: list[str]
) -> None:
    desk = open_desk(open_home)
    with pytest.raises(Invalid, match="Field 'steps"):
        desk.platform.delivery.deploy(version=desk.register().ref, steps=steps)
