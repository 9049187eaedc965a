"""A secret of a URL is found however odd the URL: none is shown, stored or told in an error."""

import json
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Invalid, TreadleError
from treadle.platform.addresses import place_of, refuse_password, resolved, shown, variables_of
from treadle.platform.settings import (
    Settings,
    backends_of,
    from_environment,
    remembered_settings,
    settings_for,
)
from treadle.platform.url_secrets import parsed, secrets_of

MARK = "hunter2"
NAMES = ["password", "sslpassword", "p%61ssword", "secret_access_key", "PASSWORD", "api_key"]
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=8)
users = st.one_of(
    text.map(lambda user: quote(user, safe="")),
    st.sampled_from(["", "ada", "ada@srv", "a[b", "a@[b@c"]),
)
raw_passwords = st.builds(
    lambda before, after: f"{before}{MARK}{after}", *[st.text("ab1$/@:[]#%=+", max_size=4)] * 2
)
passwords = st.one_of(raw_passwords, raw_passwords.map(lambda raw: quote(raw, safe="")))
hosts = st.sampled_from(["localhost", "h:5432", "[::1]", "[::1]:5432", "", "H.example"])
harmless = st.sampled_from(["user=ada@corp", "sslmode=require", "options=-c%20x=1", "flag", "a=?b"])
in_parameters = st.builds(
    lambda name, value: f"{name}={quote(value, safe='/@:+')}",
    st.sampled_from(NAMES),
    raw_passwords,
)
in_endpoints = st.builds(
    lambda user, password, host, change: "endpoint=" + change(f"http://{user}:{password}@{host}/"),
    *(st.sampled_from(["ada", "ada@srv"]), st.just(MARK), hosts),
    st.sampled_from([str, lambda url: quote(url, safe="")]),
)


@st.composite
def urls(draw: st.DrawFn) -> str:
    """A URL that has a secret in its user part, its query, or a URL of its query."""
    where = draw(st.sampled_from(["user", "query", "endpoint"]))
    user = draw(users)
    before = f"{user}:{draw(passwords)}@" if where == "user" else draw(st.just("") | st.just("u@"))
    parameters = draw(st.lists(harmless, max_size=2))
    if where != "user":
        secret = draw(in_parameters if where == "query" else in_endpoints)
        parameters.insert(draw(st.integers(0, len(parameters))), secret)
    scheme = draw(st.sampled_from(["postgresql", "redis", "s3"]))
    query = f"?{'&'.join(parameters)}" if parameters else ""
    return f"{scheme}://{before}{draw(hosts)}/d{query}"


@given(url=urls())
def test_no_secret_of_any_url_is_shown_stored_or_told(
    url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert str(parsed(url)) == url
    assert MARK not in shown(url)
    assert MARK not in place_of(url)
    with pytest.raises(Invalid) as refused:
        refuse_password(url)
    assert MARK not in refused.value.message
    home = tmp_path_factory.mktemp("home")
    port = {"p": "database", "r": "online_store", "s": "blobs"}[url[0]]
    with pytest.raises(Invalid) as refused:
        settings_for(home, **{port: url})
    assert MARK not in refused.value.message
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TREADLE_{port.upper()}", url)
        try:
            settings = settings_for(home)
            told = json.dumps([settings.environment(), settings.places, backends_of(home)])
        except TreadleError as error:
            told = error.message
    told += to_json(remembered_settings(home)).decode()
    assert MARK not in told


@given(users, passwords, st.lists(harmless, max_size=2))
def test_a_url_is_opened_as_it_is_read(user: str, password: str, parameters: list[str]) -> None:
    url = f"postgresql://{user}:{password}@h:5432/d?{'&'.join(parameters)}"
    assume(not password.startswith("$"))  # it may be a reference
    opened = make_url(resolved(url))
    assert (opened.host, opened.port, opened.database) == ("h", 5432, "d")
    assert opened.password == unquote(password)
    assert opened.username == unquote(user)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h:5432/d?user=ada@corp",
        "postgresql://ada@h:5432/d?user=ada@corp",
        "postgresql://ada@srv@h/d?application_name=a:b@c",
        "postgresql://[::1]:5432/d?user=ada@corp",
        "postgresql://ada@[::1]/d?user=ada@corp",
        "sqlite:////data/a:b@c.db",
        "file:///data/a:b@c",
        "s3://bucket/a:b@c?endpoint=http://minio:9000",
        "kubernetes://context/namespace?image=registry:5000/model@sha256:abc",
    ],
)
def test_what_is_no_secret_is_taken_for_none(url: str) -> None:
    assert secrets_of(url) == []
    assert shown(url) == url
    refuse_password(url)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://ada@srv:hunter2@localhost/x", "hunter2"),
        ("postgresql://u:hid/d@en@h/d", "hid/d@en"),
        ("postgresql://u:hid?den@h/d?user=ada@corp", "hid?den"),
        ("postgresql://u:hid?d=en@h/d?sslmode=require", "hid?d=en"),
        ("postgresql://h/d?p%61ssword=hunter2", "hunter2"),
        ("s3://b?endpoint=http%3A%2F%2Fu%3Ahunter2%40minio", "hunter2"),
    ],
)
def test_an_odd_secret_is_found_whole(url: str, secret: str) -> None:
    assert secrets_of(url) == [secret]


@pytest.mark.parametrize("variable", [None, "TREADLE_DATABASE"])
def test_a_password_that_begins_with_a_dollar_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    url = "postgresql://ada:$ecret@localhost/d"
    given = {} if variable else {"database": url}
    if variable:
        monkeypatch.setenv(variable, url)
    with pytest.raises(Invalid, match="begins with") as refused:
        settings_for(tmp_path / "home", **given)
    assert "ecret" not in refused.value.message
    assert shown(url) == "postgresql://ada:***@localhost/d"
    assert variables_of(url) == set()
    assert not (tmp_path / "home" / "settings.json").exists()


def test_a_password_that_an_older_home_remembers_is_not_told_where_its_place_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, places = "s3://b?secret_access_key=hunter2", {"blobs": "s3://other"}
    settings = Settings(home=str(tmp_path), blobs=url, places=places)
    monkeypatch.setenv("TREADLE_SETTINGS", to_json(settings).decode())
    with pytest.raises(Conflict, match=r"secret_access_key=\*\*\* leads elsewhere") as refused:
        from_environment()
    assert "hunter2" not in refused.value.message
