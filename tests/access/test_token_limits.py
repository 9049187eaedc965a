"""Tokens that expire, that carry less than their user's roles, and that tell their last use."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.access.limits import limited
from treadle.access.model import EVERYWHERE, Caller
from treadle.http.rights import demand
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Forbidden, Invalid, Unauthenticated
from treadle.kernel.operation import ROLES, Role
from treadle.platform.wiring import Embedded

PROJECTS = ("a", "b", "c")
ROLE = st.sampled_from(ROLES)
HELD = st.dictionaries(st.sampled_from((EVERYWHERE, *PROJECTS)), ROLE)
LIMITS = st.fixed_dictionaries(
    {
        "max_role": st.none() | ROLE,
        "only_projects": st.lists(st.sampled_from((*PROJECTS, "elsewhere")), unique=True),
    }
)


@pytest.fixture
def home(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(manual_clock=True)


def moved(home: Embedded, **by: float) -> None:
    assert isinstance(home.clock, ManualClock)
    home.clock.advance(timedelta(**by))


@given(held=HELD, limits=LIMITS, role=ROLE, project=st.sampled_from((EVERYWHERE, *PROJECTS, "d")))
def test_a_limited_token_may_nothing_that_its_user_may_not(
    held: dict[str, Role], limits: dict[str, object], role: Role, project: str
) -> None:
    user = Caller(name="ada", roles=held)
    bearer = Caller(name="ada", roles=limited(held, **limits))  # type: ignore[arg-type]
    assert user.may(role, project) or not bearer.may(role, project)
    assert user.may_somewhere(role) or not bearer.may_somewhere(role)


@given(held=HELD, limits=LIMITS, role=ROLE, project=st.sampled_from((*PROJECTS, "d")))
def test_a_limited_token_may_all_that_its_limits_leave(
    held: dict[str, Role], limits: dict[str, object], role: Role, project: str
) -> None:
    user = Caller(name="ada", roles=held)
    bearer = Caller(name="ada", roles=limited(held, **limits))  # type: ignore[arg-type]
    highest, projects = limits["max_role"], limits["only_projects"]
    is_within = not projects or project in projects  # type: ignore[operator]
    is_low = highest is None or ROLES.index(role) <= ROLES.index(highest)
    assert bearer.may(role, project) == (user.may(role, project) and is_within and is_low)


def test_a_token_that_is_limited_to_projects_may_nothing_everywhere(home: Embedded) -> None:
    token = home.access.create_token(name="ci", user="root", role="admin", only_projects=["a"])
    caller = home.access.caller(token.secret)
    assert caller.roles == {"a": "admin"} and caller.limited_by == "ci"
    assert not caller.may("viewer")


def test_limits_hold_for_roles_that_come_later(home: Embedded) -> None:
    token = home.access.create_token(name="ci", user="ada", role="viewer", max_role="editor")
    held = Caller(name="ada", roles={"*": "viewer"}, token="ci")
    assert home.access.caller(token.secret) == held
    home.access.grant(user="ada", role="admin")
    assert home.access.caller(token.secret).roles == {"*": "editor"}
    home.access.take(user="ada")
    assert home.access.caller(token.secret).roles == {}


def test_who_is_refused_because_of_the_token_is_told_so(home: Embedded) -> None:
    token = home.access.create_token(name="ci", user="ada", role="admin", max_role="viewer")
    with pytest.raises(
        Forbidden,
        match=r"'ada' is viewer in every project with token 'ci', which carries less than its "
        r"user's roles; this needs the role editor in every project\. Use a token that carries",
    ):
        demand(home.access.caller(token.secret), "editor")


def test_a_token_ends_by_itself_and_says_so(home: Embedded) -> None:
    token = home.access.create_token(name="ci", user="ada", role="editor", expires_in="30d")
    assert token.expires_at == home.clock.now() + timedelta(days=30)
    moved(home, days=30, microseconds=-1)
    assert home.access.caller(token.secret).expires_at == token.expires_at
    moved(home, microseconds=1)
    with pytest.raises(
        Unauthenticated,
        match=r"Token 'ci' expired at 1970-01-31 00:00 UTC\. Ask an admin for another: "
        "treadle access create-token --name NAME --user ada",
    ):
        home.access.caller(token.secret)


def test_the_door_stays_shut_when_the_last_token_has_expired(home: Embedded) -> None:
    home.access.create_token(name="ci", expires_in="1h")
    moved(home, hours=2)
    with pytest.raises(Unauthenticated, match="needs a valid token"):
        home.access.caller(None)


def test_a_time_can_be_given_instead(home: Embedded) -> None:
    at = home.clock.now() + timedelta(days=2)
    assert home.access.create_token(name="ci", expires_at=at).expires_at == at
    (token,) = home.access.list_tokens()
    assert token.expires_at == at


@pytest.mark.parametrize(
    "given, says",
    [
        ({"expires_in": "soon"}, "'soon' is not a duration"),
        ({"expires_in": "0s"}, "is never valid"),
        ({"expires_in": "900000w"}, "beyond the year 9999"),
        ({"expires_at": datetime(2000, 1, 1)}, "say the time zone"),
        ({"only_projects": ["*"]}, r"'\*' is no project"),
        ({"only_projects": [" "]}, "' ' is no project"),
        ({"only_projects": [str(n) for n in range(101)]}, "limited to 100 at most"),
    ],
)
def test_limits_that_make_no_sense_are_refused_and_nothing_is_written(
    home: Embedded, given: dict[str, object], says: str
) -> None:
    with pytest.raises(Invalid, match=says):
        home.access.create_token(name="ci", **given)  # type: ignore[arg-type]
    assert (home.access.list_tokens(), home.events.history()) == ([], [])


def test_two_expiries_are_refused(home: Embedded) -> None:
    with pytest.raises(Invalid, match="'expires_in' or 'expires_at', not both"):
        home.access.create_token(
            name="ci", expires_in="1d", expires_at=home.clock.now() + timedelta(days=1)
        )


def test_who_has_no_role_and_only_expired_tokens_is_no_user(home: Embedded) -> None:
    home.access.create_token(name="ci", user="ada", expires_in="1h")
    home.access.take(user="ada")
    assert [user.name for user in home.access.users()] == ["ada"]
    moved(home, hours=1)
    assert home.access.users() == []


def test_the_event_tells_the_limits(home: Embedded) -> None:
    home.access.create_token(
        name="ci", role="editor", max_role="viewer", only_projects=["b", "a", "b"], expires_in="1d"
    )
    body = home.events.history()[-1].body
    assert (body["max_role"], body["only_projects"]) == ("viewer", ["a", "b"])
    assert body["expires_at"] == "1970-01-02T00:00:00Z"


def test_the_last_use_is_stored_once_a_minute(home: Embedded) -> None:
    secret = home.access.create_token(name="ci").secret
    assert home.access.list_tokens()[0].last_used_at is None
    uses = []
    for seconds in (0, 30, 29, 1, 60):
        moved(home, seconds=seconds)
        home.access.caller(secret)
        home.access.last_use.settle()
        uses.append(home.access.list_tokens()[0].last_used_at)
    begin = home.clock.now() - timedelta(seconds=120)
    at = [(use - begin).total_seconds() for use in uses if use is not None]
    assert at == [0, 0, 0, 60, 120]


def test_a_use_waits_for_no_writer(home: Embedded) -> None:
    secret = home.access.create_token(name="ci").secret
    with home.database.write():  # whoever else wants to write waits for the end of this block
        assert home.access.caller(secret).name == "ci"
        assert home.access.list_tokens()[0].last_used_at is None
    home.access.last_use.settle()
    assert home.access.list_tokens()[0].last_used_at == home.clock.now()


def test_closing_stores_what_was_noted(open_home: Callable[..., Embedded]) -> None:
    home = open_home(manual_clock=True)
    home.access.caller(home.access.create_token(name="ci").secret)
    home.close()
    assert open_home().access.list_tokens()[0].last_used_at == home.clock.now()
