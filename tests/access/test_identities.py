"""Users whom an identity provider vouches for: roles and tokens follow their sign-ins."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from treadle.access.model import NewToken, User
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded

ADA = "oidc:login.example|1"
HOUR = timedelta(hours=1)


@pytest.fixture
def home(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(manual_clock=True)


def moved(home: Embedded, by: timedelta) -> None:
    assert isinstance(home.clock, ManualClock)
    home.clock.advance(by)


def sign_in(home: Embedded, user: str = ADA, name: str = "Ada", **roles: Role) -> NewToken:
    return home.access.identities.sign_in(user=user, readable_name=name, roles=roles, lasts=HOUR)


def test_a_session_carries_the_roles_that_the_provider_gives(home: Embedded) -> None:
    caller = home.access.caller(sign_in(home, churn="editor").secret)
    assert (caller.name, caller.roles) == (ADA, {"churn": "editor"})
    assert home.access.users() == [User(name=ADA, roles={"churn": "editor"}, readable_name="Ada")]


def test_a_session_ends_by_itself(home: Embedded) -> None:
    session = sign_in(home, churn="editor")
    moved(home, HOUR)
    with pytest.raises(Unauthenticated, match=r"expired at .* Sign in again"):
        home.access.caller(session.secret)


def test_roles_are_read_again_at_each_sign_in_also_for_what_is_open(home: Embedded) -> None:
    before = sign_in(home, churn="admin", fraud="viewer")
    sign_in(home, churn="viewer", credit="editor")
    assert home.access.caller(before.secret).roles == {"churn": "viewer", "credit": "editor"}
    events = [event.type for event in home.events.history(limit=20) if event.type != "TokenCreated"]
    assert events == ["RoleGranted", "RoleGranted", "RoleTaken", "RoleGranted", "RoleGranted"]


def test_who_lost_all_groups_is_refused_and_loses_the_roles(home: Embedded) -> None:
    before = sign_in(home, churn="admin")
    with pytest.raises(Forbidden, match="'Ada' has signed in, but no group of theirs has a role"):
        sign_in(home)
    assert home.access.caller(before.secret).roles == {}


def test_the_provider_is_the_actor_of_the_roles_that_it_gives(home: Embedded) -> None:
    sign_in(home, churn="viewer")
    assert {event.actor for event in home.events.history()} == {"oidc:login.example"}


def test_tokens_for_programs_end_with_the_sign_in_whoever_makes_them(home: Embedded) -> None:
    sign_in(home, churn="admin")
    moved(home, HOUR)
    token = home.access.identities.hand_out(user=ADA, max_role="viewer", lasts=24 * HOUR)
    assert token.expires_at == home.clock.now() + 23 * HOUR
    assert home.access.caller(token.secret).roles == {"churn": "viewer"}
    moved(home, 23 * HOUR)
    with pytest.raises(Unauthenticated, match="too long ago"):
        home.access.identities.hand_out(user=ADA, max_role="viewer", lasts=24 * HOUR)


def test_only_who_signs_in_gets_tokens_without_an_admin(home: Embedded) -> None:
    home.access.create_token(name="ada", role="viewer")
    with pytest.raises(NotFound, match="'ada' does not sign in"):
        home.access.identities.hand_out(user="ada", max_role=None, lasts=HOUR)


def test_signing_out_ends_one_session_and_no_other_token(home: Embedded) -> None:
    session, other = sign_in(home, churn="viewer"), sign_in(home, churn="viewer")
    local = home.access.create_token(name="ci", role="viewer")
    for secret in (session.secret, session.secret, local.secret, "", "wrong"):
        home.access.identities.sign_out(secret)
    with pytest.raises(Unauthenticated):
        home.access.caller(session.secret)
    assert home.access.caller(other.secret).name == ADA
    assert home.access.caller(local.secret).name == "ci"


def test_sessions_that_have_ended_do_not_pile_up(home: Embedded) -> None:
    for _ in range(3):
        sign_in(home, churn="viewer")
        moved(home, HOUR)
    assert len(home.access.list_tokens()) == 1


def test_nothing_is_given_by_hand_to_who_signs_in(home: Embedded) -> None:
    sign_in(home, churn="viewer")
    with pytest.raises(Invalid, match="signs in at an identity provider"):
        home.access.grant(user=ADA, role="admin")
    with pytest.raises(Invalid, match="signs in at an identity provider"):
        home.access.create_token(name="ci", user=ADA, role="admin")
    with pytest.raises(Invalid, match="signs in at an identity provider"):
        home.access.create_token(name=ADA)
    assert home.access.take(user=ADA, project="churn").roles == {}


def test_a_local_user_is_never_taken_over(home: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    home.access.grant(user="ada", role="admin")
    with pytest.raises(Conflict, match="no name of a user from an identity provider"):
        sign_in(home, user="ada", churn="viewer")
    monkeypatch.setattr("treadle.access.service.PROVIDED", "kept free later:")
    home.access.create_token(name="old", user=ADA, role="admin")
    with pytest.raises(Conflict, match=r"A user 'oidc:login\.example\|1' was made by hand"):
        sign_in(home, churn="viewer")
    assert home.access.users()[1] == User(name=ADA, roles={"*": "admin"})


def test_a_readable_name_may_change_and_is_only_shown(home: Embedded) -> None:
    sign_in(home, name="Ada\x1b[31m\n" + "x" * 500, churn="viewer")
    assert home.access.identities.readable_names() == {ADA: "Ada[31m" + "x" * 93}
    sign_in(home, name="admin", churn="viewer")
    sign_in(home, user="oidc:login.example|2", name="admin", churn="viewer")
    assert set(home.access.identities.readable_names().values()) == {"admin"}
    assert len(home.access.users()) == 2


def test_where_people_sign_in_nobody_comes_in_without(open_home: Callable[..., Embedded]) -> None:
    with pytest.raises(Unauthenticated):
        open_home(oidc="/etc/treadle/oidc.toml").access.caller(None)
    assert open_home(oidc="off").access.caller(None).name == "anonymous"
