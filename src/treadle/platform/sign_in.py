"""Reads how people sign in at an identity provider, and what its claims mean here."""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from treadle.access.model import EVERYWHERE, PROVIDED
from treadle.backends.identity.oidc import OpenIdConnect
from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity, from_plain
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.operation import ROLES, Role
from treadle.ports.identity import Identity, IdentityProvider

SECRET = "TREADLE_OIDC_SECRET"
CALLBACK = "/sign-in/callback"
LONGEST_ISSUER, LONGEST_USER = 120, 200
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RoleMapping(Entity):
    """A role for who has a value in the claim of roles, such as the members of a group.

    Attributes:
        value: The value, exactly as the provider sends it.
        role: The role.
        project: Project in which it holds; ``*`` for all of them.
    """

    value: str
    role: Role
    project: str = EVERYWHERE


class Declaration(Entity):
    """What an operator declares in the file of ``treadle up --oidc``.

    Attributes:
        issuer: The provider's URL, exactly as it calls itself.
        client_id: How the provider knows this server.
        url: Where browsers reach this server.
        client_secret_file: The file with the client's secret; if empty, the variable
            ``TREADLE_OIDC_SECRET`` has it.
        title: What the button calls the provider; if empty, its host.
        scopes: What is asked for.
        name_claim: The claim with the readable name.
        roles_claim: The claim whose values are mapped to roles: a text or a list of them.
        session: How long a browser stays signed in.
        token: How long after a sign-in the tokens last that people make for their programs.
        role: Which values give which roles; without any, nobody may do anything.
    """

    issuer: str
    client_id: str
    url: str
    client_secret_file: str = ""
    title: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    name_claim: str = "name"
    roles_claim: str = "groups"
    session: str = "8h"
    token: str = "24h"
    role: list[RoleMapping] = []


def read(file: Path) -> Declaration:
    """Read and check the declaration of a provider.

    Args:
        file: The TOML file.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is malformed; the error names the field.
    """
    try:
        return parse(file.read_text(encoding="utf-8"), name=str(file))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no '{file}' to say how people sign in. Name it with --oidc FILE, or end "
            "signing in with --oidc off."
        ) from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: not UTF-8 text at byte {error.start}.") from error


def parse(text: str, *, name: str) -> Declaration:
    """Parse and check the declaration of a provider.

    Args:
        text: TOML text.
        name: Name of the file in error messages.

    Raises:
        Invalid: The text is malformed; the error names the field.
    """
    try:
        declared = from_plain(tomllib.loads(text), Declaration)
        _check(declared)
    except (ValueError, Invalid) as error:
        raise Invalid(f"{name}: {error}") from error
    return declared


class SignIn:
    """How people sign in: the provider, and what its claims mean here.

    Args:
        declared: What the operator declares.
        provider: The provider.

    Attributes:
        declared: What the operator declares.
        provider: The provider.
        session: How long a browser stays signed in.
        token: How long after a sign-in the tokens last that people make for their programs.
    """

    def __init__(self, declared: Declaration, provider: IdentityProvider) -> None:
        self.declared, self.provider = declared, provider
        self.session, self.token = duration(declared.session), duration(declared.token)

    @property
    def url(self) -> str:
        """Where browsers reach this server, without a slash at the end."""
        return self.declared.url.rstrip("/")

    @property
    def title(self) -> str:
        """What the provider is called on the page."""
        return self.declared.title or urlsplit(self.declared.issuer).netloc

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach this server by TLS."""
        return self.url.startswith("https://")

    def cookie(self, name: str) -> str:
        """The full name of a cookie; by TLS browsers take it from this host alone.

        Args:
            name: What it holds, in one word.
        """
        return f"{'__Host-' if self.is_secure else ''}treadle_{name}"

    def user(self, identity: Identity) -> str:
        """The name of a person's user, which no other person's and no local user's can equal.

        Args:
            identity: The person.
        """
        issuer = identity.issuer.removeprefix("https://")
        name = f"{PROVIDED}{issuer}|{identity.subject}"
        if len(name) <= LONGEST_USER and not identity.subject.startswith("|"):
            return name
        return f"{PROVIDED}{issuer}||{hashlib.sha256(identity.subject.encode()).hexdigest()}"

    def readable_name(self, identity: Identity) -> str:
        """What a person is called; their subject where the provider does not say.

        Args:
            identity: The person.
        """
        said = identity.claims.get(self.declared.name_claim)
        return said if isinstance(said, str) and said.strip() else identity.subject

    def roles(self, claims: Mapping[str, Any]) -> dict[str, Role]:
        """The roles that claims give, by project; the highest where several are given.

        Args:
            claims: What the provider says.
        """
        said = claims.get(self.declared.roles_claim)
        values = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        roles: dict[str, Role] = {}
        for mapping in self.declared.role:
            if mapping.value in values:
                held = roles.get(mapping.project, mapping.role)
                roles[mapping.project] = max(held, mapping.role, key=ROLES.index)
        return roles


def sign_in_of(file: Path) -> SignIn:
    """Make ready to sign people in as a file declares it. The provider is not asked yet.

    Args:
        file: The TOML file.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is malformed, the client's secret is missing, or the extra ``oidc`` is.
    """
    declared = read(file)
    provider = OpenIdConnect(
        issuer=declared.issuer,
        client_id=declared.client_id,
        client_secret=_secret(declared, file.parent),
        redirect_uri=declared.url.rstrip("/") + CALLBACK,
        scopes=declared.scopes,
        wanted_claims=(declared.name_claim, declared.roles_claim),
    )
    return SignIn(declared, provider)


def _secret(declared: Declaration, folder: Path) -> str:
    if not declared.client_secret_file:
        if secret := os.environ.get(SECRET, "").strip():
            return secret
        raise Invalid(
            f"The secret of client '{declared.client_id}' is missing. Set {SECRET}, or name its "
            "file in client_secret_file."
        )
    file = folder / Path(declared.client_secret_file).expanduser()
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"Field 'client_secret_file': '{file}' cannot be read.") from error
    if not secret:
        raise Invalid(f"Field 'client_secret_file': '{file}' is empty.")
    return secret


def _check(declared: Declaration) -> None:
    for field in ("issuer", "url"):
        _check_url(getattr(declared, field), field)
    if len(declared.issuer) > LONGEST_ISSUER or "|" in declared.issuer:
        raise Invalid(f"Field 'issuer': at most {LONGEST_ISSUER} characters, and none is '|'.")
    if urlsplit(declared.url).path not in ("", "/"):
        raise Invalid("Field 'url': give the server's address without a path.")
    if not declared.client_id:
        raise Invalid("Field 'client_id': the provider knows this server by a name.")
    if "openid" not in declared.scopes:
        raise Invalid("Field 'scopes': 'openid' is missing.")
    for field in ("session", "token"):
        _check_duration(getattr(declared, field), field)
    for index, mapping in enumerate(declared.role):
        if not mapping.value or not mapping.project.strip() or len(mapping.project) > 63:
            raise Invalid(
                f"Field 'role[{index}]': it needs a value, and a project of 1 to 63 characters "
                "or '*'."
            )


def _check_url(url: str, field: str) -> None:
    """Refuse what is no plain URL, and one without TLS: codes and sessions would be readable."""
    parts = urlsplit(url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    is_plain = re.fullmatch(r"https?://[\x21-\x7e]+", url) and not re.search(r"[?#@\\]", url)
    if not (is_safe and is_plain and parts.hostname):
        raise Invalid(
            f"Field '{field}': '{url}' is no URL with https:// (or http:// on this machine), "
            "without user, query and fragment."
        )


def _check_duration(text: str, field: str) -> None:
    try:
        length = duration(text)
    except Invalid as error:
        raise Invalid(f"Field '{field}': {error.message}") from error
    if not timedelta(minutes=1) <= length <= timedelta(days=365):
        raise Invalid(f"Field '{field}': it lasts a minute at least and 365 days at most.")
