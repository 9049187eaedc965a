"""Versions are made from passed verdicts, signed once, and found by name."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.evaluation.tables import evaluations
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound, TreadleError
from treadle.kernel.event import acting
from treadle.platform.wiring import Embedded
from treadle.registry.tables import approvals, versions
from treadle.scope.model import About, ProjectSpec
from treadle.scope.policies import RolloutPolicy


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


def verdict(
    platform: Embedded, name: str, *, outcome: str = "passed", project: str = "shop"
) -> str:
    """A verdict that was given."""
    row = {
        "id": f"verdict_{name}",
        "run": f"run_{name}",
        "project": project,
        "package": name[0] * 64,
    }
    row |= {
        "holdout": "h" * 64,
        "job": f"job_{name}",
        "state": "given",
        "outcome": outcome,
        "actor": "test",
    }
    with platform.database.write() as transaction:
        values = {"reason": "because", "rows": 500, "findings": "[]", "at": platform.clock.now()}
        transaction.execute(evaluations.insert().values(**row, **values))
    return row["id"]


def registered(platform: Embedded, *names: str, model: str | None = None) -> None:
    for name in names:
        platform.registry.register(verdict=verdict(platform, name), model=model)


def tamper(platform: Embedded, table: Any, **values: object) -> None:
    with platform.database.write() as transaction:
        transaction.execute(table.update().values(values))


def test_numbers_count_up_within_a_model(platform: Embedded) -> None:
    registered(platform, "a", "b")
    registered(platform, "c", model="other")
    assert [v.ref for v in platform.registry.find(model="shop")] == ["shop:2", "shop:1"]
    assert [v.ref for v in platform.registry.find(model="other")] == ["other:1"]
    assert platform.registry.get(model="shop", number=1).package == "a" * 64


def test_registering_a_verdict_again_gives_the_version_it_made(platform: Embedded) -> None:
    first = platform.registry.register(verdict=verdict(platform, "a"))
    registered(platform, "b")
    assert platform.registry.register(verdict="verdict_a") == first
    assert len(platform.events.history(type="VersionRegistered")) == 2


def test_approvals_are_listed_newest_first_with_what_their_signatures_are_worth(
    platform: Embedded,
) -> None:
    registered(platform, "a", "b", "c")
    for number in (2, 1, 3):
        platform.registry.approve(model="shop", number=number, comment=f"read {number}")
    platform.registry.delete_version(model="shop", number=3)
    told = platform.registry.approvals()
    assert [(one.number, one.approval.comment, one.fits) for one in told] == [
        (1, "read 1", True),
        (2, "read 2", True),
    ]
    assert platform.registry.approvals(project=told[0].project, limit=1) == told[:1]
    assert platform.registry.approvals(project="elsewhere") == []
    with platform.database.write() as transaction:
        here = approvals.c.number == 2
        transaction.execute(approvals.update().where(here).values(comment="read it all"))
    assert [one.fits for one in platform.registry.approvals()] == [True, False]


@pytest.mark.parametrize("outcome", ["refused", "not enough evidence"])
def test_only_a_passed_verdict_makes_a_version(platform: Embedded, outcome: str) -> None:
    with pytest.raises(
        Forbidden, match=f"Verdict 'verdict_a' is '{outcome}', so it makes no version: because"
    ):
        platform.registry.register(verdict=verdict(platform, "a", outcome=outcome))
    assert platform.registry.find() == []
    assert platform.events.history() == []


def test_a_verdict_that_is_not_there_makes_no_version(platform: Embedded) -> None:
    with pytest.raises(NotFound, match="no verdict 'verdict_x'"):
        platform.registry.register(verdict="verdict_x")


@pytest.mark.parametrize("name", ["shop:1", "shop@x", "a b", "../up", ""])
def test_a_model_has_a_name_by_which_it_can_be_found(platform: Embedded, name: str) -> None:
    found = verdict(platform, "a")
    try:
        made = platform.registry.register(verdict=found, model=name)
    except Invalid as error:
        assert repr(name) in error.message
    else:
        assert platform.registry.resolve(ref=made.ref) == made


def test_a_signature_names_who_gave_it_and_on_what(platform: Embedded) -> None:
    registered(platform, "a")
    with acting("ann"):
        signed = platform.registry.approve(model="shop", number=1, comment="read it")
    assert signed.approval is not None
    given = (
        signed.approval.by,
        signed.approval.comment,
        signed.approval.verdict,
        signed.approval.package,
    )
    assert given == ("ann", "read it", "verdict_a", "a" * 64)
    assert platform.registry.verify_approval(model="shop", number=1)
    (event,) = platform.events.history(type="VersionApproved")
    assert event.actor == "ann"


def test_a_version_is_signed_once(platform: Embedded) -> None:
    registered(platform, "a")
    with acting("ann"):
        platform.registry.approve(model="shop", number=1)
    with pytest.raises(Conflict, match=r"Version 'shop:1' was approved already, by ann\."):
        platform.registry.approve(model="shop", number=1)
    assert len(platform.events.history(type="VersionApproved")) == 1


def test_what_nobody_signed_does_not_verify(platform: Embedded) -> None:
    registered(platform, "a", "b")
    platform.registry.approve(model="shop", number=1)
    assert not platform.registry.verify_approval(model="shop", number=2)


@pytest.mark.parametrize(
    "column, value",
    [
        ("by", "eve"),
        ("comment", "!"),
        ("verdict", "verdict_z"),
        ("package", "z" * 64),
        ("number", 2),
    ],
)
def test_a_changed_signature_does_not_verify(
    platform: Embedded, column: str, value: object
) -> None:
    registered(platform, "a", "b")
    platform.registry.approve(model="shop", number=1, comment="fine")
    tamper(platform, approvals, **{column: value})
    assert not platform.registry.verify_approval(
        model="shop", number=2 if column == "number" else 1
    )


@pytest.mark.parametrize("column, value", [("package", "z" * 64), ("verdict", "verdict_z")])
def test_a_version_that_was_changed_after_it_was_signed_does_not_verify(
    platform: Embedded, column: str, value: str
) -> None:
    registered(platform, "a")
    platform.registry.approve(model="shop", number=1)
    tamper(platform, versions, **{column: value})
    assert not platform.registry.verify_approval(model="shop", number=1)


def test_the_signature_of_another_home_does_not_verify(
    platform: Embedded, open_home: Callable[..., Embedded]
) -> None:
    registered(platform, "a")
    platform.registry.approve(model="shop", number=1)
    key = platform.settings.folder / ".signing.key"
    assert key.stat().st_mode & 0o077 == 0
    key.write_bytes(b"the key of another home".ljust(32))
    assert not open_home().registry.verify_approval(model="shop", number=1)


def test_a_version_is_found_by_number_by_alias_and_by_name(platform: Embedded) -> None:
    registered(platform, "a", "b", "c")
    resolve = platform.registry.resolve
    assert resolve(ref="shop:2").number == 2
    assert resolve(ref="shop").number == 3
    platform.registry.set_alias(model="shop", alias="champion", number=1)
    platform.registry.set_alias(model="shop", alias="next", number=2)
    assert resolve(ref="shop@next").number == 2
    assert resolve(ref="shop").number == resolve(ref="shop@champion").number == 1


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(platform: Embedded) -> None:
    registered(platform, "a")
    platform.registry.set_alias(model="shop", alias="champion", number=1)
    for ref in ("shopp", "shopp:1", "shopp@champion"):
        with pytest.raises(NotFound, match=r"Did you mean 'shop'\?"):
            platform.registry.resolve(ref=ref)
    with pytest.raises(
        NotFound, match=r"Model 'shop' has no alias 'champoin'\. Did you mean 'champion'\?"
    ):
        platform.registry.resolve(ref="shop@champoin")


@pytest.mark.parametrize("ref", ["shop:9", "shop@champion"])
def test_the_near_miss_is_never_what_was_said_already(platform: Embedded, ref: str) -> None:
    registered(platform, "a")
    with pytest.raises(NotFound) as caught:
        platform.registry.resolve(ref=ref)
    assert "Did you mean 'shop'" not in caught.value.message


@pytest.mark.parametrize("ref", ["shop:x", "shop:-1", "shop:1:2", "shop:1.0", "shop:²", "shop: "])
def test_a_number_that_is_none_says_how_to_write_one(platform: Embedded, ref: str) -> None:
    registered(platform, "a")
    with pytest.raises(Invalid, match=r"names no version\. Write NAME:NUMBER or NAME@ALIAS"):
        platform.registry.resolve(ref=ref)


def test_a_number_beyond_all_versions_is_not_there(platform: Embedded) -> None:
    registered(platform, "a")
    with pytest.raises(NotFound, match=f"no version 'shop:{10**30}'"):
        platform.registry.resolve(ref=f"shop:{10**30}")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ref=st.text("shop:@1²٣ /\n'\"%", max_size=8))
def test_whatever_is_asked_for_is_a_version_or_an_error_for_people(
    platform: Embedded, ref: str
) -> None:
    try:
        platform.registry.resolve(ref=ref)
    except TreadleError as error:
        assert error.status in (400, 404)
        assert error.message.endswith((".", "?"))


def test_an_alias_that_moves_tells_where_it_was(platform: Embedded) -> None:
    registered(platform, "a", "b")
    for number in (1, 2, 2):
        platform.registry.set_alias(model="shop", alias="champion", number=number)
    moves = platform.events.history(type="AliasMoved")
    assert [(move.body["before"], move.body["number"]) for move in moves] == [(None, 1), (1, 2)]
    assert platform.registry.get(model="shop", number=1).aliases == []
    assert platform.registry.get(model="shop", number=2).aliases == ["champion"]


def test_a_version_may_have_several_aliases(platform: Embedded) -> None:
    registered(platform, "a")
    for alias in ("next", "champion"):
        platform.registry.set_alias(model="shop", alias=alias, number=1)
    assert platform.registry.get(model="shop", number=1).aliases == ["champion", "next"]


def test_an_alias_cannot_point_at_nothing(platform: Embedded) -> None:
    registered(platform, "a")
    with pytest.raises(NotFound, match="no version 'shop:2'"):
        platform.registry.set_alias(model="shop", alias="champion", number=2)
    assert platform.events.history(type="AliasMoved") == []


def test_the_champion_is_signed_where_signatures_are_asked_for(platform: Embedded) -> None:
    registered(platform, "a", "b")
    spec = ProjectSpec(
        project=About(name="shop"), rollout=RolloutPolicy(approve=["production"], automatic=False)
    )
    point = platform.registry.set_alias
    point(model="shop", alias="champion", number=1)  # nobody has asked for a signature yet
    platform.scope.declare(spec=spec)
    with pytest.raises(Forbidden, match="'shop:2' is not approved, and project 'shop' gives"):
        point(model="shop", alias="champion", number=2)
    with pytest.raises(Forbidden, match="gives stage Production to approved versions only"):
        platform.registry.set_stage(model="shop", number=2, stage="Production")
    assert platform.registry.resolve(ref="shop@champion").number == 1
    point(model="shop", alias="challenger", number=2)
    platform.registry.approve(model="shop", number=2)
    assert point(model="shop", alias="champion", number=2).aliases == ["challenger", "champion"]
    platform.registry.set_stage(model="shop", number=2, stage="Production")
    tamper(platform, approvals, comment="another")
    with pytest.raises(Forbidden):
        point(model="shop", alias="champion", number=2)
