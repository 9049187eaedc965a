"""OpenID Connect: the authorization code flow with PKCE, by a client that has a secret."""

import base64
import hashlib
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

from treadle.backends.identity.documents import Documents, refusal_of
from treadle.kernel.errors import Unauthenticated, Unavailable, missing_extra
from treadle.ports.identity import Identity

if TYPE_CHECKING:
    from joserfc.jwk import KeySet


class OpenIdConnect:
    """A provider of OpenID Connect.

    Args:
        issuer: The provider's URL, exactly as its tokens name it.
        client_id: How the provider knows this server.
        client_secret: What proves it.
        redirect_uri: Where the provider sends browsers back to.
        scopes: What is asked for; ``openid`` is among it.
        wanted_claims: Claims that are asked for at the UserInfo endpoint where the ID token lacks
            them.

    Raises:
        Invalid: The extra ``oidc`` is not installed.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str,
        redirect_uri: str,
        scopes: Collection[str],
        wanted_claims: Collection[str] = (),
    ) -> None:
        try:
            from treadle.backends.identity import id_token
        except ModuleNotFoundError as error:
            raise missing_extra("oidc", "Signing in by OpenID Connect") from error
        self._tokens = id_token
        self.documents = Documents(issuer)
        self._issuer, self._client, self._secret = issuer, client_id, client_secret
        self._redirect_uri, self._scopes = redirect_uri, " ".join(scopes)
        self._wanted = wanted_claims

    def address(self, *, state: str, nonce: str, verifier: str) -> str:
        """Return the URL at which a browser signs in.

        Args:
            state: What comes back with the code.
            nonce: What the ID token will hold.
            verifier: The code verifier of PKCE.

        Raises:
            Unavailable: The provider does not answer, or what it says of itself is not usable.
        """
        endpoint = self.documents.endpoint("authorization_endpoint")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": self._redirect_uri,
            "scope": self._scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def identify(self, *, code: str, nonce: str, verifier: str, issuer: str | None) -> Identity:
        """Redeem a code, and verify the ID token that it brings.

        Args:
            code: The code.
            nonce: The nonce that the ID token must hold.
            verifier: The code verifier of PKCE.
            issuer: The ``iss`` that came with the code (RFC 9207); None where none came.

        Raises:
            Unauthenticated: The provider refuses the code, or its answer cannot be trusted.
            Unavailable: The provider does not answer, or what it says of itself is not usable.
        """
        self._check_sender(issuer)
        answer = self._redeem(code, verifier)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Unauthenticated(
                "The identity provider sent no ID token. Is 'openid' among the scopes?"
            )
        claims = self._verified(token, nonce)
        if any(name not in claims for name in self._wanted):
            claims = self._user_info(answer, claims["sub"]) | claims
        return Identity(issuer=self._issuer, subject=claims["sub"], claims=claims)

    def _check_sender(self, issuer: str | None) -> None:
        """Refuse a code of another provider, which would be sent to this one (mix-up)."""
        names_itself = "authorization_response_iss_parameter_supported"
        absent = issuer is None and self.documents.metadata().get(names_itself) is True
        if absent or issuer not in (None, self._issuer):
            raise Unauthenticated(
                "The answer does not come from the identity provider that was asked, "
                f"'{self._issuer}'. Sign in again."
            )

    def _redeem(self, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        ways = self.documents.metadata().get("token_endpoint_auth_methods_supported")
        if isinstance(ways, list) and "client_secret_basic" not in ways:
            form |= {"client_id": self._client, "client_secret": self._secret}
        else:  # RFC 6749, section 2.3.1: both are encoded as in a form
            pair = f"{quote_plus(self._client)}:{quote_plus(self._secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        endpoint = self.documents.endpoint("token_endpoint")
        status, answer = self.documents.ask("POST", endpoint, data=form, headers=headers)
        if status >= 500:
            raise Unavailable(f"The identity provider answered {status} at '{endpoint}'.")
        if status != 200:
            raise Unauthenticated(
                f"The identity provider refuses the sign-in ({refusal_of(answer, status)}). "
                "Sign in again."
            )
        return answer

    def _verified(self, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token; keys that are not known yet are fetched once."""
        try:
            return self._claims(token, self._keys(afresh=False), nonce)
        except self._tokens.UnknownKey:
            return self._claims(token, self._keys(afresh=True), nonce)

    def _claims(self, token: str, keys: "KeySet", nonce: str) -> dict[str, Any]:
        # The provider's tokens follow the world's time, whatever clock the home has.
        return self._tokens.verified(
            token,
            keys,
            issuer=self._issuer,
            client=self._client,
            nonce=nonce,
            now=int(time.time()),
        )

    def _keys(self, *, afresh: bool) -> "KeySet":
        return self._tokens.keys_of(self.documents.keys(afresh=afresh))

    def _user_info(self, answer: dict[str, Any], subject: str) -> dict[str, Any]:
        """What the provider says of the person beside the ID token; empty where it says nothing."""
        access = answer.get("access_token")
        if "userinfo_endpoint" not in self.documents.metadata() or not isinstance(access, str):
            return {}
        headers = {"Authorization": f"Bearer {access}", "Accept": "application/json"}
        endpoint = self.documents.endpoint("userinfo_endpoint")
        status, claims = self.documents.ask("GET", endpoint, headers=headers)
        if status != 200:
            raise Unavailable(f"The identity provider answered {status} at '{endpoint}'.")
        if claims.get("sub") != subject:
            raise Unauthenticated("The identity provider's answers speak of two persons.")
        return claims
