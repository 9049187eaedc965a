"""OpenID Connect: what an ID token must be before anybody is let in."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from tests.backends.oidc_provider import CLIENT, SECRET, Provider, provider, rsa_key
from treadle.backends.identity.documents import Documents
from treadle.backends.identity.oidc import OpenIdConnect
from treadle.kernel.errors import Unauthenticated, Unavailable
from treadle.ports.identity import Identity

NONCE, VERIFIER = "n" * 64, "v" * 64
STRANGER = rsa_key("stranger")


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def honest(running: Provider) -> Provider:
    """The provider, which tells the truth until a test changes it."""
    running.__init__(running.issuer)  # type: ignore[misc]
    return running


@pytest.fixture
def client(honest: Provider) -> OpenIdConnect:
    return client_of(honest)


def client_of(provider: Provider, **changes: Any) -> OpenIdConnect:
    settings = {
        "issuer": provider.issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "redirect_uri": "https://treadle.example/sign-in/callback",
        "scopes": ["openid", "profile"],
        "wanted_claims": ("name", "groups"),
    }
    return OpenIdConnect(**{**settings, **changes})


def identify(client: OpenIdConnect, provider: Provider, **changes: Any) -> Identity:
    address = client.address(state="s" * 64, nonce=NONCE, verifier=VERIFIER)
    asked = {
        "code": provider.code(address),
        "nonce": NONCE,
        "verifier": VERIFIER,
        "issuer": provider.issuer,
    }
    return client.identify(**{**asked, **changes})


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [json.dumps(part).encode() for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hashed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    content = unsigned(header, claims)
    mac = hmac.digest(secret, content.encode(), "sha256")
    return f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed(header: dict[str, Any], claims: dict[str, Any], key: RSAKey) -> str:
    registry = JWSRegistry(algorithms=["RS256"], strict_check_header=False)
    content = json.dumps(claims).encode()
    if "crit" not in header:
        return serialize_compact(header, content, key, registry=registry)
    raw = unsigned(header, claims)
    signature = registry.get_alg("RS256").sign(raw.encode(), key)
    return f"{raw}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_who_signs_in_is_who_the_provider_says(client: OpenIdConnect, honest: Provider) -> None:
    found = identify(client, honest)
    assert (found.issuer, found.subject) == (honest.issuer, "1")
    assert found.claims["groups"] == ["ml-team"]


@pytest.mark.parametrize("key", [rsa_key("rsa"), ECKey.generate_key("P-256", {"kid": "ec"})])
def test_a_key_that_is_new_is_fetched(
    client: OpenIdConnect,
    honest: Provider,
    key: RSAKey | ECKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Documents, "AGAIN_SECONDS", 0.0)
    identify(client, honest)
    honest.keys = [key]
    assert identify(client, honest).subject == "1"
    assert honest.fetched == ["metadata", "keys", "keys"]


def test_unknown_keys_do_not_make_the_server_ask_again_and_again(
    client: OpenIdConnect, honest: Provider
) -> None:
    identify(client, honest)
    honest.forged = signed({"alg": "RS256", "kid": "stranger"}, honest.honest(NONCE), STRANGER)
    for _ in range(3):
        with pytest.raises(Unauthenticated, match="signed with a key that is not published"):
            identify(client, honest)
    assert honest.fetched == ["metadata", "keys"]


FORGERIES: dict[str, Callable[[dict[str, Any], RSAKey], str]] = {
    "alg none": lambda claims, key: unsigned({"alg": "none", "kid": key.kid}, claims) + ".",
    "alg nOnE": lambda claims, key: unsigned({"alg": "nOnE", "kid": key.kid}, claims) + ".",
    "HS256 with the public key": lambda claims, key: hashed(
        {"alg": "HS256", "kid": key.kid}, claims, key.as_pem(private=False)
    ),
    "HS256 with the public key's numbers": lambda claims, key: hashed(
        {"alg": "HS256", "kid": key.kid}, claims, json.dumps(key.as_dict(private=False)).encode()
    ),
    "HS256 with a published secret": lambda claims, _: hashed(
        {"alg": "HS256", "kid": "shared"}, claims, b"secret"
    ),
    "HS256 with the client's secret": lambda claims, _: hashed(
        {"alg": "HS256"}, claims, SECRET.encode()
    ),
    "another's key under this one's name": lambda claims, key: signed(
        {"alg": "RS256", "kid": key.kid}, claims, rsa_key("first")
    ),
    "a key that the token brings": lambda claims, _: signed(
        {"alg": "RS256", "jwk": STRANGER.as_dict(private=False)}, claims, STRANGER
    ),
    "no signature": lambda claims, key: unsigned({"alg": "RS256", "kid": key.kid}, claims) + ".",
    "another signature's": lambda claims, key: (
        unsigned({"alg": "RS256", "kid": key.kid}, claims)
        + "."
        + signed({"alg": "RS256", "kid": key.kid}, {}, key).rpartition(".")[2]
    ),
    "a critical header that nobody knows": lambda claims, key: signed(
        {"alg": "RS256", "kid": key.kid, "crit": ["odd"], "odd": 1}, claims, key
    ),
    "no token": lambda *_: "token",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_token_is_refused(client: OpenIdConnect, honest: Provider, forgery: str) -> None:
    key = honest.keys[0]
    assert isinstance(key, RSAKey)
    honest.forged = FORGERIES[forgery](honest.honest(NONCE), key)
    with pytest.raises(Unauthenticated, match="ID token"):
        identify(client, honest)


NOW = int(time.time())
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another audience": ({"aud": "other"}, "aud"),
    "several audiences without a party": ({"aud": [CLIENT, "other"]}, "azp"),
    "another party": ({"azp": "other"}, "azp"),
    "no audience": ({"aud": None}, "aud"),
    "another issuer": ({"iss": "https://evil.example"}, "iss"),
    "the issuer with a slash": ({"iss": "http://127.0.0.1/"}, "iss"),
    "no issuer": ({"iss": None}, "iss"),
    "expired": ({"exp": NOW - 61}, "exp"),
    "never expires": ({"exp": None}, "exp"),
    "expires at no number": ({"exp": "tomorrow"}, "exp"),
    "not yet valid": ({"nbf": NOW + 3600}, "not yet valid"),
    "from the future": ({"iat": NOW + 3600}, "future"),
    "another nonce": ({"nonce": "m" * 64}, "nonce belongs to another sign-in"),
    "a list of nonces": ({"nonce": [NONCE]}, "nonce"),
    "no nonce": ({"nonce": None}, "nonce"),
    "no subject": ({"sub": None}, "sub"),
    "an empty subject": ({"sub": ""}, "sub"),
    "a subject of control characters": ({"sub": "1\n2"}, "subject"),
    "a subject that is a number": ({"sub": 1}, "sub"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_token_for_another_time_place_or_person_is_refused(
    client: OpenIdConnect, honest: Provider, wrong: str
) -> None:
    honest.claims, reason = WRONG[wrong]
    with pytest.raises(Unauthenticated, match=reason):
        identify(client, honest)


def test_a_token_for_several_is_taken_where_this_client_asked(
    client: OpenIdConnect, honest: Provider
) -> None:
    honest.claims = {"aud": [CLIENT, "other"], "azp": CLIENT}
    assert identify(client, honest).subject == "1"


def test_clocks_may_differ_by_a_minute(client: OpenIdConnect, honest: Provider) -> None:
    now = int(time.time())
    honest.claims = {"exp": now - 30, "iat": now + 30}
    assert identify(client, honest).subject == "1"


@pytest.mark.parametrize("issuer", ["https://evil.example", "", None])
def test_a_code_of_another_provider_is_not_sent_to_this_one(
    client: OpenIdConnect, honest: Provider, issuer: str | None
) -> None:
    with pytest.raises(Unauthenticated, match="does not come from the identity provider"):
        identify(client, honest, issuer=issuer)
    assert len(honest.codes) == 1  # the code was not redeemed


def test_a_provider_that_does_not_name_itself_is_taken_at_its_word(honest: Provider) -> None:
    honest.metadata = {"authorization_response_iss_parameter_supported": False}
    assert identify(client_of(honest), honest, issuer=None).subject == "1"


def test_a_code_is_redeemed_once_and_by_who_has_asked_for_it(
    client: OpenIdConnect, honest: Provider
) -> None:
    code = honest.code(client.address(state="s" * 64, nonce=NONCE, verifier=VERIFIER))
    with pytest.raises(Unauthenticated, match="invalid_grant: no such code"):
        identify(client, honest, code=code, verifier="w" * 64)
    code = honest.code(client.address(state="s" * 64, nonce=NONCE, verifier=VERIFIER))
    identify(client, honest, code=code)
    with pytest.raises(Unauthenticated, match="invalid_grant"):
        identify(client, honest, code=code)


def test_a_wrong_client_secret_is_told(honest: Provider) -> None:
    with pytest.raises(Unauthenticated, match="invalid_client"):
        identify(client_of(honest, client_secret="wrong"), honest)


def test_claims_that_the_token_lacks_are_asked_for(honest: Provider) -> None:
    honest.claims = {"groups": None}
    honest.info = {"sub": "1", "groups": ["ml-admins"], "iss": "https://evil.example"}
    found = identify(client_of(honest), honest)
    assert found.claims["groups"] == ["ml-admins"]
    assert found.claims["iss"] == honest.issuer  # what is signed comes first


def test_claims_of_another_person_are_refused(honest: Provider) -> None:
    honest.claims, honest.info = {"groups": None}, {"sub": "2", "groups": ["ml-admins"]}
    with pytest.raises(Unauthenticated, match="two persons"):
        identify(client_of(honest), honest)


def test_a_provider_of_another_name_is_not_asked(honest: Provider) -> None:
    honest.metadata = {"issuer": "https://evil.example"}
    with pytest.raises(Unavailable, match=r"calls itself 'https://evil\.example'"):
        identify(client_of(honest), honest)


def test_a_provider_that_is_down_is_told_and_may_be_asked_again() -> None:
    client = client_of(Provider("http://127.0.0.1:9"))
    with pytest.raises(Unavailable, match="does not answer") as refused:
        client.address(state="s", nonce=NONCE, verifier=VERIFIER)
    assert refused.value.retry


def test_an_issuer_with_tls_names_no_service_without(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents("https://login.example")
    known = {"issuer": "https://login.example", "token_endpoint": "http://login.example/token"}
    monkeypatch.setattr(documents, "ask", lambda *_, **__: (200, known))
    with pytest.raises(Unavailable, match="names no 'token_endpoint' that can be used"):
        documents.endpoint("token_endpoint")
