"""Verifies ID tokens: signed by the provider, for this client, for this sign-in, and now."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, import_key
from joserfc.jws import JWSRegistry

from treadle.kernel.errors import Unauthenticated

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
"""Signatures that only the holder of a private key can make. ``none`` and HMAC are not among them:
anybody can sign with a public key that is taken for a shared secret."""

LEEWAY_SECONDS = 60
_KINDS = ("RSA", "EC", "OKP")


class UnknownKey(Unauthenticated):
    """A token is signed with a key that is not among the provider's keys, as far as known."""


def keys_of(document: Mapping[str, Any]) -> KeySet:
    """Return the public signature keys of a key document.

    Args:
        document: The JSON Web Key Set. What is no such key is left out: keys for encryption,
            shared secrets, kinds that are not known here.

    Raises:
        Unauthenticated: It holds none.
    """
    listed = document.get("keys")
    keys = [key for key in map(_key, listed if isinstance(listed, list) else ()) if key is not None]
    if not keys:
        raise Unauthenticated("The identity provider publishes no key that signs ID tokens.")
    return KeySet(keys)


def verified(
    token: str, keys: KeySet, *, issuer: str, client: str, nonce: str, now: int
) -> dict[str, Any]:
    """Verify an ID token as OpenID Connect Core 1.0, section 3.1.3.7, asks for.

    Args:
        token: The token as it came.
        keys: The provider's keys.
        issuer: The issuer that must have made it.
        client: The client for which it must be made.
        nonce: The nonce that it must hold.
        now: The present time, in seconds since 1970.

    Returns:
        The token's claims.

    Raises:
        UnknownKey: It names a key that is not among the keys.
        Unauthenticated: It cannot be trusted; the message says why.
    """
    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    try:
        claims: dict[str, Any] = jwt.decode(token, keys, registry=registry).claims
        jwt.JWTClaimsRegistry(
            now=now,
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True},
        ).validate(claims)
    except InvalidKeyIdError as error:
        raise UnknownKey("The ID token is signed with a key that is not published.") from error
    except (JoseError, ValueError) as error:
        raise _refusal(str(error)) from error
    _check_party(claims, client)
    held = claims["nonce"]
    if not isinstance(held, str) or not secrets.compare_digest(held.encode(), nonce.encode()):
        raise _refusal("its nonce belongs to another sign-in")
    _check_subject(claims["sub"])
    return claims


def _check_party(claims: Mapping[str, Any], client: str) -> None:
    """Refuse a token that was made for several, unless it was this client that asked for it."""
    audience = claims["aud"]
    is_shared = isinstance(audience, list) and len(audience) > 1
    if claims.get("azp", None if is_shared else client) != client:
        raise _refusal("another client has asked for it (azp)")


def _check_subject(subject: str) -> None:
    is_plain = subject.isascii() and subject.isprintable()
    if not is_plain or len(subject) > 255:
        raise _refusal("its subject is not 1 to 255 printable ASCII characters")


def _key(data: object) -> Any:
    """A public signature key; None for anything else."""
    if not isinstance(data, dict) or data.get("kty") not in _KINDS:
        return None
    if data.get("use", "sig") != "sig":
        return None
    try:
        return import_key({name: data[name] for name in data.keys() - _PRIVATE})
    except (JoseError, ValueError, TypeError, KeyError):
        return None


_PRIVATE: Iterable[str] = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "key_ops"})


def _refusal(reason: str) -> Unauthenticated:
    return Unauthenticated(f"The ID token of the identity provider is not accepted: {reason}.")
