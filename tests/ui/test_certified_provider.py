"""People sign in at a certified provider: npm's oidc-provider, as make's .clients installs it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.backends.oidc_provider import free_port
from tests.platform.test_platforms import served
from tests.ui.browsing import URL, Browser, declaration
from treadle.backends.identity.documents import Documents
from treadle.platform.wiring import Embedded

NODE = shutil.which("node")
INSTALLATION = Path(__file__).parents[2] / ".clients" / "oidc"
PROVIDER = Path(__file__).parent / "provider" / "provider.mjs"
SECRET = "a secret: 100% +/"
SCOPES = 'scopes = ["openid", "profile", "groups"]'

pytestmark = pytest.mark.skipif(
    NODE is None or not (INSTALLATION / "node_modules").is_dir(),
    reason="declared gap: no node here, or no 'make .clients'",
)


class Acme:
    """A provider with people of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "provider.json"
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, Any] = {
            "port": self.port,
            "client": {
                "client_id": "treadle",
                "client_secret": SECRET,
                "redirect_uris": [f"{URL}/sign-in/callback"],
            },
            "people": {"ada": {"name": "Ada Lovelace", "groups": ["ml-team"]}},
            "keys": [RSAKey.generate_key(2048, {"use": "sig"}).as_dict(private=True)],
        }
        self.write()

    def write(self) -> None:
        self._file.write_text(json.dumps(self.settings))

    @contextmanager
    def running(self) -> Iterator[None]:
        with subprocess.Popen(
            [str(NODE), str(PROVIDER), str(INSTALLATION), str(self._file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"NODE_ENV": "test"},
        ) as process:
            assert process.stdout is not None
            try:
                while b"it listens" not in (line := process.stdout.readline()):
                    assert line, "the provider did not start"
                yield
            finally:
                process.send_signal(signal.SIGTERM)


@pytest.fixture
def acme(tmp_path: Path) -> Acme:
    return Acme(tmp_path)


@pytest.fixture
def server(acme: Acme, tmp_path: Path, open_home: Callable[..., Embedded]) -> Iterator[str]:
    file = declaration(tmp_path, acme.issuer, SCOPES, secret=SECRET)
    with served(open_home(oidc=str(file))) as url:
        yield url


def sign_in(browser: Browser, who: str = "ada", start: str = "/sign-in/start") -> httpx.Response:
    page = browser.follow(browser.visit(start))
    assert "Sign-in" in page.text, page.text
    page = browser.submit(page, login=who, password="any")
    return browser.submit(page)  # agrees that the name and the groups are told


def test_people_sign_in_and_out_with_the_roles_of_their_groups(acme: Acme, server: str) -> None:
    with acme.running(), Browser(server) as browser:
        page = sign_in(browser, start="/sign-in/start?next=/%3Fa")
        assert page.status_code == 200 and page.url == f"{URL}/?a"
        assert '<a href="/token">Ada Lovelace</a>' in page.text
        made = browser.command("/api/v1/tracking/start_run", Origin=URL)
        assert made.status_code == 200
        assert browser.visit("/api/v1/access/users").status_code == 403
        page = browser.follow(browser.visit("/"))  # a home with runs only opens on them
        assert browser.submit(page).url == f"{URL}/sign-in"
        assert browser.visit("/api/v1/views/find?project=churn").status_code == 401


def test_groups_are_read_again_at_each_sign_in(acme: Acme, server: str) -> None:
    with acme.running():
        with Browser(server) as before:
            assert sign_in(before).status_code == 200
            acme.settings["people"]["ada"]["groups"] = ["ml-admins"]
            acme.write()
            with Browser(server) as browser:
                assert sign_in(browser).status_code == 200
                assert browser.visit("/api/v1/access/users").status_code == 200
            acme.settings["people"]["ada"]["groups"] = []
            acme.write()
            with Browser(server) as browser:
                assert "no group of theirs has a role here" in sign_in(browser).text
            assert before.visit("/api/v1/views/find?project=churn").status_code == 403


def test_a_code_that_was_used_is_refused_by_the_provider(
    acme: Acme, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acme.running(), Browser(server) as browser:
        page = browser.submit(
            browser.follow(browser.visit("/sign-in/start")), login="ada", password="any"
        )
        came_back: list[str] = []
        monkeypatch.setattr(
            browser, "follow", lambda answer: _until_back(browser, answer, came_back)
        )
        browser.submit(page)
        (url,) = came_back
        attempt = browser.client.cookies["__Host-treadle_attempt"]
        assert browser.visit(url).status_code == 303
        browser.client.cookies.set(
            "__Host-treadle_attempt", attempt, domain="treadle.example", path="/"
        )
        assert "used already" in browser.visit(url).text
        state = browser.visit("/sign-in/start").headers["location"]
        fresh = dict(httpx.URL(url).params) | {"state": httpx.URL(state).params["state"]}
        assert "invalid_grant" in browser.visit("/sign-in/callback", params=fresh).text


def _until_back(browser: Browser, answer: httpx.Response, came_back: list[str]) -> httpx.Response:
    """Follow redirects until one leads back to the server, which is noted and not followed."""
    while answer.has_redirect_location:
        to = answer.headers["location"]
        if to.startswith(f"{URL}/sign-in/callback"):
            came_back.append(to)
            return answer
        answer = browser.client.get(str(httpx.URL(str(answer.url)).join(to)))
    return answer


def test_new_keys_of_the_provider_are_taken(
    acme: Acme, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Documents, "AGAIN_SECONDS", 0.0)
    with acme.running(), Browser(server) as browser:
        assert sign_in(browser).status_code == 200
    keys = RSAKey.generate_key(2048, {"use": "sig"}), ECKey.generate_key("P-256", {"use": "sig"})
    acme.settings["keys"] = [key.as_dict(private=True) for key in keys]
    acme.write()
    with acme.running(), Browser(server) as browser:
        assert sign_in(browser).status_code == 200


def test_a_wrong_client_secret_lets_nobody_in(
    acme: Acme, tmp_path: Path, open_home: Callable[..., Embedded]
) -> None:
    file = declaration(tmp_path, acme.issuer, SCOPES, secret="wrong")
    with acme.running(), served(open_home(oidc=str(file))) as url, Browser(url) as browser:
        answer = sign_in(browser)
    assert answer.status_code == 401 and "invalid_client" in answer.text
