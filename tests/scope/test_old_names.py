"""Specifications that older versions stored are read under today's names."""

from collections.abc import Callable

from sqlalchemy import update

from treadle.kernel.entity import to_text
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, ProjectSpec
from treadle.scope.tables import projects


def test_a_stored_specification_with_old_names_is_read(open_home: Callable[..., Embedded]) -> None:
    home = open_home()
    home.scope.declare(spec=ProjectSpec(project=About(name="p")))
    old = {
        "project": {"name": "p"},
        "rollout": {"two_people": True, "most_shift": "20%", "most_disagreement": "5%"},
        "serving": {"most_replicas": 4},
    }
    with home.database.write() as transaction:
        transaction.execute(update(projects).values(spec=to_text(old)))
    spec = home.scope.project(name="p").spec
    assert spec.rollout.four_eyes
    assert (spec.rollout.max_shift, spec.rollout.max_disagreement) == ("20%", "5%")
    assert spec.serving.max_replicas == 4
