"""Sign-ins that browsers have begun belong to these browsers, count once, and end."""

import base64
import time

import pytest

from treadle.http.attempts import LASTS_SECONDS, Attempt, Attempts, local_path
from treadle.kernel.entity import replace
from treadle.kernel.errors import Unauthenticated

ISSUER = "https://login.example"


def begun(attempts: Attempts) -> tuple[Attempt, str, str]:
    attempt = attempts.begin(issuer=ISSUER, next_page="/report")
    return attempt, attempts.sealed(attempt), attempts.state(attempt)


def test_a_browser_that_comes_back_is_known_once() -> None:
    attempts = Attempts(b"k" * 32)
    attempt, sealed, state = begun(attempts)
    assert attempts.take(sealed, state=state, issuer=ISSUER) == attempt
    with pytest.raises(Unauthenticated, match="used already"):
        attempts.take(sealed, state=state, issuer=ISSUER)


def test_the_state_of_another_browser_is_refused() -> None:
    attempts = Attempts(b"k" * 32)
    _, sealed, _ = begun(attempts)
    _, _, foreign = begun(attempts)
    for state in (foreign, "", "ä"):
        with pytest.raises(Unauthenticated, match="another sign-in"):
            attempts.take(sealed, state=state, issuer=ISSUER)


def test_what_the_server_has_not_made_is_refused() -> None:
    attempts = Attempts(b"k" * 32)
    attempt, sealed, state = begun(attempts)
    whole = bytearray(base64.urlsafe_b64decode(sealed))
    whole[-1] ^= 1
    forged = (
        base64.urlsafe_b64encode(bytes(whole)).decode(),
        Attempts(b"other" * 8).sealed(attempt),
        sealed[:-8],
        "",
        "ä",
        "!",
    )
    for other in forged:
        with pytest.raises(Unauthenticated, match="has begun no sign-in"):
            attempts.take(other, state=state, issuer=ISSUER)


def test_an_attempt_ends_and_belongs_to_one_provider() -> None:
    attempts = Attempts(b"k" * 32)
    attempt, _, state = begun(attempts)
    for late in (
        replace(attempt, at=int(time.time()) - LASTS_SECONDS - 1),
        replace(attempt, issuer="https://evil.example"),
    ):
        with pytest.raises(Unauthenticated, match="took too long"):
            attempts.take(attempts.sealed(late), state=state, issuer=ISSUER)


def test_the_secrets_of_an_attempt_tell_nothing_of_each_other() -> None:
    attempts = Attempts(b"k" * 32)
    attempt, sealed, state = begun(attempts)
    secrets = {state, attempts.nonce(attempt), attempts.verifier(attempt)}
    assert len(secrets) == 3
    assert all(len(secret) == 64 and secret not in sealed for secret in secrets)


@pytest.mark.parametrize("page", ["/", "/report", "/token", "/api?a=b&c=%2F#d", "/a//b"])
def test_a_page_of_this_server_is_shown_afterwards(page: str) -> None:
    assert local_path(page) == page


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/ä",
        "/" + "a" * 600,
        "/report\r\nSet-Cookie: a=b",
        "/sign-in/start",
        "/sign-out",
        "",
    ],
)
def test_no_other_page_is(page: str) -> None:
    assert local_path(page) == "/"
