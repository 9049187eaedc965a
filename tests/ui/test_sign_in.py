"""People sign in at a provider, out again, and nobody else does in their name."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.backends.oidc_provider import SECRET, Provider, provider
from tests.platform.test_platforms import served
from tests.ui.browsing import URL, Browser, declaration
from treadle.platform.wiring import Embedded

SESSION, ATTEMPT = "__Host-treadle_session", "__Host-treadle_attempt"
START_RUN = "/api/v1/tracking/start_run"
RUNS = "/api/v1/views/find?project=churn"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def acme(running: Provider) -> Provider:
    """The provider, which tells the truth until a test changes it."""
    running.__init__(running.issuer)  # type: ignore[misc]
    return running


@pytest.fixture
def home(acme: Provider, tmp_path: Path, open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(oidc=str(declaration(tmp_path, acme.issuer, secret=SECRET)))


@pytest.fixture
def server(home: Embedded) -> Iterator[str]:
    with served(home) as url:
        yield url


@pytest.fixture
def browser(server: str) -> Iterator[Browser]:
    with Browser(server) as opened:
        yield opened


def callback(acme: Provider, browser: Browser, start: str = "/sign-in/start") -> dict[str, str]:
    """What the provider sends a browser back with, that has begun to sign in there."""
    address = browser.visit(start).headers["location"]
    state = parse_qs(urlsplit(address).query)["state"][0]
    return {"code": acme.code(address), "state": state, "iss": acme.issuer}


def come_back(browser: Browser, said: dict[str, str]) -> httpx.Response:
    return browser.visit("/sign-in/callback", params=said)


def sign_in(acme: Provider, browser: Browser) -> None:
    assert come_back(browser, callback(acme, browser)).status_code == 303


def refusal(answer: httpx.Response, browser: Browser, status: int = 401) -> str:
    """The page that says why nobody was signed in."""
    assert answer.status_code == status, answer.text
    assert SESSION not in browser.client.cookies
    assert ATTEMPT not in browser.client.cookies
    return answer.text


def test_who_comes_without_anything_is_led_to_the_provider(
    acme: Provider, browser: Browser
) -> None:
    page = browser.follow(browser.visit("/"))
    assert page.url == f"{URL}/sign-in?next=/"
    assert "Sign in with Acme &amp; Co" in page.text
    sent = browser.visit("/sign-in/start?next=/")
    assert sent.headers["location"].startswith(f"{acme.issuer}/authorize?response_type=code")


def test_who_signs_in_comes_back_to_what_they_asked_for(acme: Provider, browser: Browser) -> None:
    wanted = "/events?type=A%26B&actor=ada"
    page = browser.follow(browser.visit(wanted))
    assert page.url == f"{URL}/sign-in?next=/events%3Ftype%3DA%2526B%26actor%3Dada"
    (start,) = re.findall(r'href="(/sign-in/start[^"]*)"', page.text)
    answer = come_back(browser, callback(acme, browser, start))
    assert answer.headers["location"] == f"{URL}{wanted}"


def test_who_signs_in_has_the_roles_of_their_groups_and_no_more(
    acme: Provider, browser: Browser
) -> None:
    sign_in(acme, browser)
    assert '<a href="/token">Ada</a>' in browser.visit("/").text
    assert browser.command(START_RUN, Origin=URL).status_code == 200
    assert browser.visit(RUNS).status_code == 200
    assert browser.visit("/api/v1/access/users").status_code == 403
    foreign = browser.client.post(
        f"{URL}{START_RUN}", json={"project": "fraud"}, headers={"Origin": URL}
    )
    assert foreign.status_code == 403


def test_the_cookie_is_this_hosts_and_no_pages(acme: Provider, browser: Browser) -> None:
    answer = come_back(browser, callback(acme, browser))
    cookies = answer.headers.get_list("set-cookie")
    (session,) = [one for one in cookies if one.startswith(f"{SESSION}=treadle_")]
    assert {part.strip().lower() for part in session.split(";")[1:]} == {
        *("httponly", "max-age=28800", "path=/", "samesite=lax", "secure")
    }
    assert any(one.startswith(f'{ATTEMPT}=""; HttpOnly; Max-Age=0') for one in cookies)
    assert answer.headers["cache-control"] == "no-store"


def test_signing_out_ends_the_session(acme: Provider, browser: Browser) -> None:
    sign_in(acme, browser)
    secret = browser.client.cookies[SESSION]
    page = browser.submit(browser.visit("/"))
    assert page.url == f"{URL}/sign-in" and SESSION not in browser.client.cookies
    browser.client.cookies.set(SESSION, secret, domain="treadle.example")
    assert browser.visit(RUNS).status_code == 401


def test_who_lost_the_group_loses_the_role_in_every_browser(
    acme: Provider, browser: Browser, server: str
) -> None:
    sign_in(acme, browser)
    acme.claims = {"groups": ["staff"]}
    with Browser(server) as other:
        answer = come_back(other, callback(acme, other))
        assert "no group of theirs has a role here" in refusal(answer, other, 403)
    assert browser.visit(RUNS).status_code == 403


def test_a_local_user_of_the_same_name_stays_their_own(
    acme: Provider, browser: Browser, home: Embedded
) -> None:
    home.access.create_token(name="laptop", user="Ada", role="admin")
    acme.claims = {"name": "Ada", "preferred_username": "Ada", "sub": "Ada"}
    sign_in(acme, browser)
    assert browser.visit("/api/v1/access/users").status_code == 403
    roles = {user.name: user.roles for user in home.access.users()}
    assert roles["Ada"] == {"*": "admin"}
    assert roles[f"oidc:{acme.issuer}|Ada"] == {"churn": "editor"}


def test_a_state_counts_once(acme: Provider, browser: Browser) -> None:
    said = callback(acme, browser)
    attempt = browser.client.cookies[ATTEMPT]
    assert come_back(browser, said).status_code == 303
    browser.client.cookies.delete(SESSION)
    assert "has begun no sign-in" in refusal(come_back(browser, said), browser)
    browser.client.cookies.set(ATTEMPT, attempt, domain="treadle.example", path="/")
    said["code"] = "another"
    assert "used already" in refusal(come_back(browser, said), browser)


def test_a_code_that_somebody_else_has_brought_is_refused(
    acme: Provider, browser: Browser, server: str
) -> None:
    with Browser(server) as attacker:
        theirs = callback(acme, attacker)
    assert "has begun no sign-in" in refusal(come_back(browser, theirs), browser)
    callback(acme, browser)
    assert "another sign-in" in refusal(come_back(browser, theirs), browser)


def test_a_code_of_another_sign_in_does_not_fit(
    acme: Provider, browser: Browser, server: str
) -> None:
    """Its verifier is another one, and where a provider overlooks that, so is its nonce."""
    with Browser(server) as attacker:
        theirs = callback(acme, attacker)
    injected = callback(acme, browser) | {"code": theirs["code"]}
    assert "invalid_grant" in refusal(come_back(browser, injected), browser)
    acme.claims = {"nonce": "0" * 64}
    answer = come_back(browser, callback(acme, browser))
    assert "nonce belongs to another sign-in" in refusal(answer, browser)


def test_a_code_is_used_once(acme: Provider, browser: Browser) -> None:
    used = callback(acme, browser)
    assert come_back(browser, used).status_code == 303
    browser.client.cookies.delete(SESSION)
    again = callback(acme, browser) | {"code": used["code"]}
    assert "invalid_grant" in refusal(come_back(browser, again), browser)


@pytest.mark.parametrize("issuer", ["https://evil.example", None])
def test_an_answer_of_another_provider_is_refused(
    acme: Provider, browser: Browser, issuer: str | None
) -> None:
    said = callback(acme, browser) | {"iss": issuer or ""}
    if issuer is None:
        del said["iss"]
    assert "does not come from the identity provider" in refusal(come_back(browser, said), browser)


def test_what_is_said_twice_is_refused(acme: Provider, browser: Browser) -> None:
    said = callback(acme, browser)
    twice = [*said.items(), ("code", "another")]
    answer = browser.visit("/sign-in/callback", params=twice)
    assert "one thing twice" in refusal(answer, browser)


def test_what_the_provider_says_is_shown_as_text(acme: Provider, browser: Browser) -> None:
    said = callback(acme, browser)
    del said["code"]
    said |= {"error": "access_denied", "error_description": "<script>alert(1)</script>"}
    page = refusal(come_back(browser, said), browser)
    assert "&lt;script&gt;" in page and "<script>" not in page


@pytest.mark.parametrize("page", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_nobody_is_led_elsewhere_afterwards(acme: Provider, browser: Browser, page: str) -> None:
    start = str(httpx.URL("/sign-in/start", params={"next": page}))
    answer = come_back(browser, callback(acme, browser, start))
    assert answer.headers["location"] == f"{URL}/"
    shown = browser.visit(str(httpx.URL("/sign-in", params={"next": page}))).text
    assert "evil.example" not in shown


def test_the_page_that_was_asked_for_is_shown_afterwards(acme: Provider, browser: Browser) -> None:
    answer = come_back(browser, callback(acme, browser, "/sign-in/start?next=/token"))
    assert answer.headers["location"] == f"{URL}/token"


def test_pages_of_other_sites_do_nothing_by_a_session(acme: Provider, browser: Browser) -> None:
    sign_in(acme, browser)
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "https://other.treadle.example"},
        {"Origin": "null"},
        {"Origin": URL, "Sec-Fetch-Site": "same-site"},
        {},
    ):
        assert browser.command(START_RUN, **headers).status_code == 403
        assert browser.client.post(f"{URL}/sign-out", headers=headers).status_code == 403
        assert browser.client.post(f"{URL}/token", headers=headers).status_code == 403
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert browser.visit(RUNS, headers=image).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert browser.visit("/", headers=link).status_code == 200


def test_only_the_cookie_that_is_this_hosts_is_taken(acme: Provider, browser: Browser) -> None:
    """A sibling's page can set cookies for the whole domain, but none that begin with __Host-."""
    sign_in(acme, browser)
    secret = browser.client.cookies[SESSION]
    browser.client.cookies.clear()
    answer = browser.visit(RUNS, headers={"Cookie": f"treadle_session={secret}"})
    assert answer.status_code == 401


def test_a_token_for_programs_is_shown_once(acme: Provider, browser: Browser, server: str) -> None:
    sign_in(acme, browser)
    page = browser.submit(browser.visit("/token"), max_role="viewer")
    assert page.headers["cache-control"] == "no-store"
    secret = page.text.partition("<code>")[2].partition("</code>")[0]
    program = httpx.Client(base_url=server, headers={"Authorization": f"Bearer {secret}"})
    assert program.get(RUNS).status_code == 200
    assert program.post(START_RUN, json={"project": "churn"}).status_code == 403
    assert secret not in browser.visit("/token").text


def test_tokens_of_the_server_still_work(server: str, home: Embedded, browser: Browser) -> None:
    secret = home.access.create_token(name="ci", role="admin").secret
    assert httpx.get(server + RUNS, auth=("", secret)).status_code == 200
    assert httpx.get(server, auth=("", "wrong")).status_code == 401
    asked = browser.visit("/sign-in/token")
    assert asked.headers["www-authenticate"] == 'Basic realm="treadle"'
    assert browser.visit("/sign-in/token", auth=("", secret)).headers["location"] == "/"


def test_nobody_comes_in_while_no_token_is_there(server: str) -> None:
    assert httpx.get(server + RUNS).status_code == 401
    assert httpx.post(server + START_RUN, json={"project": "churn"}).status_code == 401


def test_a_provider_that_is_down_is_told(
    tmp_path: Path, open_home: Callable[..., Embedded]
) -> None:
    file = declaration(tmp_path, "http://127.0.0.1:9", secret=SECRET)
    with served(open_home("other", oidc=str(file))) as url, Browser(url) as browser:
        answer = browser.visit("/sign-in/start")
    assert answer.status_code == 503 and "does not answer" in answer.text


def test_without_a_provider_there_is_nothing_to_sign_in_at(
    open_home: Callable[..., Embedded],
) -> None:
    with served(open_home("other")) as url:
        assert httpx.get(f"{url}/sign-in").status_code == 404
        assert httpx.get(url, headers={"Cookie": "treadle_session=x"}).status_code == 200
