from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select

from treadle.access.model import Caller
from treadle.access.tables import tokens
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Invalid, NotFound, Unauthenticated
from treadle.kernel.operation import ROLES, Role
from treadle.platform.wiring import Embedded


@pytest.fixture
def home(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(manual_clock=True)


def test_without_tokens_anybody_may_do_anything(home: Embedded) -> None:
    assert not home.access.required()
    assert home.access.caller(None) == Caller(name="anonymous", roles={"*": "admin"})


def test_a_wrong_secret_is_refused_even_where_none_is_required(home: Embedded) -> None:
    with pytest.raises(Unauthenticated, match="Send it as 'Authorization: Bearer TOKEN'"):
        home.access.caller("treadle_wrong")


def test_the_first_token_shuts_out_who_brings_none(home: Embedded) -> None:
    token = home.access.create_token(name="ci", role="viewer")
    assert home.access.required()
    assert home.access.caller(token.secret) == Caller(name="ci", roles={"*": "viewer"}, token="ci")
    for wrong in (None, "", "treadle_", token.secret.swapcase(), f" {token.secret}", "ci"):
        with pytest.raises(Unauthenticated, match="needs a valid token"):
            home.access.caller(wrong)


def test_revoking_the_last_token_does_not_open_the_door_again(home: Embedded) -> None:
    token = home.access.create_token(name="ci")
    home.access.revoke_token(name="ci")
    for secret in (None, token.secret):
        with pytest.raises(Unauthenticated):
            home.access.caller(secret)


def test_a_secret_is_long_and_new_each_time(home: Embedded) -> None:
    secrets = {home.access.create_token(name=f"t{number}").secret for number in range(20)}
    assert len(secrets) == 20
    assert all(secret.startswith("treadle_") and len(secret) >= 50 for secret in secrets)


def test_a_secret_is_stored_nowhere(home: Embedded) -> None:
    token = home.access.create_token(name="ci", role="admin")
    with home.database.read() as connection:
        stored = [str(row) for row in connection.execute(select(tokens))]
    assert token.secret not in "".join(stored)
    assert token.secret not in str(home.events.history())
    files = [path for path in home.settings.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if token.secret.encode() in path.read_bytes()]


def test_a_name_that_is_taken_is_refused_and_nothing_is_written(home: Embedded) -> None:
    first = home.access.create_token(name="ci", role="viewer")
    with pytest.raises(Conflict, match="Token 'ci' exists already"):
        home.access.create_token(name="ci", role="admin")
    assert home.access.caller(first.secret).roles == {"*": "viewer"}
    assert [record.type for record in home.events.history()] == ["RoleGranted", "TokenCreated"]


def test_what_the_refusal_advises_helps(home: Embedded) -> None:
    home.access.create_token(name="ci")
    with pytest.raises(Conflict) as refused:
        home.access.create_token(name="ci")
    home.access.revoke_token(name="ci")
    assert "Choose another name" in refused.value.message
    assert home.access.create_token(name="ci 2", user="ci").user == "ci"


def test_a_token_without_a_name_is_refused(home: Embedded) -> None:
    """Its events would carry somebody else's name: an empty actor is taken for none."""
    with pytest.raises(Invalid, match="name"):
        home.access.create_token(name="")
    assert home.access.list_tokens() == []


def test_revoking_tells_when_and_once(home: Embedded) -> None:
    assert isinstance(home.clock, ManualClock)
    home.access.create_token(name="ci")
    home.clock.advance(timedelta(days=1))
    home.access.revoke_token(name="ci")
    (token,) = home.access.list_tokens()
    assert token.revoked_at == home.clock.now() == token.created_at + timedelta(days=1)
    with pytest.raises(NotFound, match="There is no live token 'ci'"):
        home.access.revoke_token(name="ci")
    assert [record.type for record in home.events.history()] == [
        "RoleGranted",
        "TokenCreated",
        "TokenRevoked",
    ]


def test_a_token_that_is_not_there_is_refused_with_the_near_miss(home: Embedded) -> None:
    home.access.create_token(name="laptop")
    with pytest.raises(
        NotFound, match=r"There is no live token 'labtop'\. Did you mean 'laptop'\?"
    ):
        home.access.revoke_token(name="labtop")


def test_tokens_are_listed_in_the_order_they_were_made(home: Embedded) -> None:
    assert isinstance(home.clock, ManualClock)
    for name in ("c", "a", "b"):
        home.access.create_token(name=name)
        home.clock.advance(timedelta(seconds=1))
    assert [token.name for token in home.access.list_tokens()] == ["c", "a", "b"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_those_before_it_may(role: Role) -> None:
    may = [other for other in ROLES if Caller(name="c", roles={"*": role}).may(other)]
    assert may == list(ROLES[: ROLES.index(role) + 1])


def test_a_role_in_a_project_reaches_no_further(home: Embedded) -> None:
    token = home.access.create_token(name="laptop", user="ada", role="editor", project="a")
    home.access.grant(user="ada", role="viewer", project="b")
    ada = home.access.caller(token.secret)
    assert (ada.name, ada.roles) == ("ada", {"a": "editor", "b": "viewer"})
    assert ada.may("editor", "a") and ada.may("viewer", "b") and not ada.may("editor", "b")
    assert not ada.may("viewer", "c") and not ada.may("viewer") and ada.may_somewhere("editor")
    home.access.grant(user="ada", role="approver")
    assert home.access.caller(token.secret).may("approver", "c")
    home.access.take(user="ada")
    home.access.take(user="ada", project="a")
    assert home.access.caller(token.secret).roles == {"b": "viewer"}
    assert [(user.name, user.roles) for user in home.access.users()] == [("ada", {"b": "viewer"})]
    with pytest.raises(NotFound, match="has no role in 'a'"):
        home.access.take(user="ada", project="a")


def test_a_second_token_of_a_user_has_the_users_rights(home: Embedded) -> None:
    home.access.create_token(name="laptop", user="ada", role="editor", project="a")
    second = home.access.create_token(name="desk", user="ada")
    assert home.access.caller(second.secret).roles == {"a": "editor"}
    home.access.revoke_token(name="laptop")
    assert home.access.caller(second.secret).name == "ada"
