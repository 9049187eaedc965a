"""An OpenID Connect provider in this process: strict with its clients, and a liar on demand."""

import base64
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

CLIENT, SECRET = "treadle", "a secret: 100%"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Provider:
    """What it would say, which tests change."""

    issuer: str
    claims: dict[str, Any] = field(default_factory=dict)  # over the honest ones; None removes
    info: dict[str, Any] | None = None  # what the UserInfo endpoint says, where there is one
    metadata: dict[str, Any] = field(default_factory=dict)
    forged: str | None = None  # an ID token in place of the honest one
    keys: list[RSAKey | ECKey] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = [rsa_key("first")]

    def code(self, address: str) -> str:
        """A code for what a client's address asks for, as if somebody had signed in there."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
        assert min(map(len, (asked["state"], asked["nonce"], asked["code_challenge"]))) >= 43
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        return code

    def honest(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "1",
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
            "name": "Ada",
            "groups": ["ml-team"],
            **self.claims,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def signed(self, claims: dict[str, Any]) -> str:
        key = self.keys[-1]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        return jwt.encode({"alg": algorithm, "kid": key.kid, **self.header}, claims, key)

    async def discovery(self, request: Request) -> JSONResponse:
        self.fetched.append("metadata")
        known = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        info = {} if self.info is None else {"userinfo_endpoint": f"{self.issuer}/me"}
        return JSONResponse({**known, **info, **self.metadata})

    async def published(self, request: Request) -> JSONResponse:
        self.fetched.append("keys")
        noise = [{"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}, {"kty": "AKP"}, {"kty": "RSA"}]
        keys = [key.as_dict(private=False, use="sig") for key in self.keys]
        return JSONResponse({"keys": [*noise, *keys]})

    async def token(self, request: Request) -> JSONResponse:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        header = request.headers.get("authorization", "").removeprefix("Basic ")
        pair = base64.b64decode(header).decode().split(":")
        if list(map(unquote_plus, pair)) != [CLIENT, SECRET]:
            return JSONResponse({"error": "invalid_client"}, 401)
        asked = self.codes.pop(form.get("code", ""), None)  # a code is taken once
        verifier = form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).decode()
        if (
            asked is None
            or form["grant_type"] != "authorization_code"
            or form["redirect_uri"] != asked["redirect_uri"]
            or challenge.rstrip("=") != asked["code_challenge"]
        ):
            return JSONResponse(
                {"error": "invalid_grant", "error_description": "no such code"}, 400
            )
        token = self.forged or self.signed(self.honest(asked["nonce"]))
        return JSONResponse({"id_token": token, "access_token": "at", "token_type": "Bearer"})

    async def about(self, request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer at"
        return JSONResponse(self.info)


def rsa_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that listens on this machine."""
    port = free_port()
    made = Provider(f"http://127.0.0.1:{port}")
    routes = [
        Route("/.well-known/openid-configuration", made.discovery),
        Route("/keys", made.published),
        Route("/token", made.token, methods=["POST"]),
        Route("/me", made.about),
    ]
    config = uvicorn.Config(
        Starlette(routes=routes), port=port, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield made
    server.should_exit = True
    thread.join()
