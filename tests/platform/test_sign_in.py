"""What an operator declares of a provider, and what its claims mean here."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.sign_in import SECRET, SignIn, parse, read, sign_in_of
from treadle.ports.identity import Identity

LEAST = 'issuer = "https://login.example/acme"\nclient_id = "treadle"\nurl = "https://t.example"\n'
ROLES = """
[[role]]
value = "ml-team"
role = "editor"
project = "churn"
[[role]]
value = "ml-leads"
role = "approver"
project = "churn"
[[role]]
value = "ml-admins"
role = "admin"
"""


def sign_in(text: str = LEAST + ROLES) -> SignIn:
    return SignIn(parse(text, name="oidc.toml"), provider=None)  # type: ignore[arg-type]


def identity(subject: str, issuer: str = "https://login.example/acme", **claims: Any) -> Identity:
    return Identity(issuer=issuer, subject=subject, claims=claims)


@pytest.mark.parametrize(
    ("groups", "roles"),
    [
        (["ml-team"], {"churn": "editor"}),
        ("ml-team", {"churn": "editor"}),
        (["ml-leads", "ml-team"], {"churn": "approver"}),
        (["ml-admins", "ml-team", "staff"], {"churn": "editor", "*": "admin"}),
        ("ml-team,ml-admins", {}),
        ("ML-TEAM", {}),
        ([["ml-team"], {"ml-team": 1}, 1, None], {}),
        ({"ml-team": True}, {}),
        (None, {}),
    ],
)
def test_values_that_are_mapped_give_roles_and_others_none(
    groups: object, roles: dict[str, str]
) -> None:
    assert sign_in().roles({"groups": groups}) == roles


def test_without_a_mapping_nobody_may_do_anything() -> None:
    assert sign_in(LEAST).roles({"groups": ["admin", "*"]}) == {}


SUBJECT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
ISSUER = st.sampled_from(
    ["https://login.example", "https://login.example/acme", "http://localhost", "https://localhost"]
)


@given(one=st.tuples(ISSUER, SUBJECT), other=st.tuples(ISSUER, SUBJECT))
def test_two_persons_are_never_one_user(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = [sign_in().user(identity(subject, issuer)) for issuer, subject in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(name.startswith("oidc:") and len(name) <= 200 for name in names)


def test_a_subject_that_looks_like_a_digest_is_no_other_person() -> None:
    long = sign_in().user(identity("x" * 255))
    assert sign_in().user(identity("|" + long.rpartition("|")[2])) != long


def test_the_readable_name_is_the_claim_or_the_subject() -> None:
    assert sign_in().readable_name(identity("1", name="Ada")) == "Ada"
    assert sign_in().readable_name(identity("1", name=" ")) == "1"
    assert sign_in().readable_name(identity("1", name=["Ada"])) == "1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('issuer = "http://login.example"', "Field 'issuer': 'http://login.example' is no URL"),
        ('issuer = "https://login.example?a"', "Field 'issuer'"),
        ('issuer = "https://u:p@login.example"', "Field 'issuer'"),
        ('issuer = "https://[login"', ""),
        ('issuer = "https://login.example/a|b"', "none is '|'"),
        (f'issuer = "https://{"x" * 120}"', "at most 120 characters"),
        ('url = "http://t.example"', "Field 'url'"),
        ('url = "https://t.example/treadle"', "without a path"),
        ('url = "javascript:alert(1)"', "Field 'url'"),
        ('client_id = ""', "Field 'client_id'"),
        ('client_secret = "x"', "Unknown field 'client_secret'"),
        ('scopes = ["profile"]', "'openid' is missing"),
        ('session = "8 hours"', "Field 'session': '8 hours' is not a duration"),
        ('token = "0s"', "Field 'token': it lasts a minute at least"),
        ('token = "9000d"', "Field 'token'"),
        ('role = [{value = "a", role = "owner"}]', "there is no 'owner'"),
        ('role = [{value = "", role = "viewer"}]', "Field 'role[0]': it needs a value"),
        ("role = 1", "Field 'role'"),
        ("issuer", "oidc.toml"),
    ],
)
def test_what_is_declared_wrongly_is_named(change: str, message: str) -> None:
    key = change.partition(" ")[0]
    kept = [line for line in LEAST.splitlines() if not line.startswith(f"{key} =")]
    with pytest.raises(Invalid) as refused:
        parse("\n".join([*kept, change]), name="oidc.toml")
    assert refused.value.message.startswith("oidc.toml: ")
    assert message in refused.value.message


def test_the_clients_secret_is_in_a_file_or_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "oidc.toml"
    monkeypatch.delenv(SECRET, raising=False)
    with pytest.raises(NotFound, match="or end signing in with --oidc off"):
        read(file)
    file.write_text(LEAST)
    with pytest.raises(Invalid, match=f"The secret of client 'treadle' is missing. Set {SECRET}"):
        sign_in_of(file)
    monkeypatch.setenv(SECRET, "hush")
    assert sign_in_of(file).title == "login.example"
    file.write_text(LEAST + 'client_secret_file = "secret"')
    with pytest.raises(Invalid, match=r"'client_secret_file': '.*/secret' cannot be read"):
        sign_in_of(file)
    (tmp_path / "secret").write_text("\n")
    with pytest.raises(Invalid, match="is empty"):
        sign_in_of(file)
    (tmp_path / "secret").write_text("hush\n")
    assert sign_in_of(file).is_secure
