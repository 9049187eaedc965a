"""Addresses: where a backend is, as a URL or as a reference to one, with passwords by reference.

``$NAME`` is what an environment variable holds, ``@FILE`` what a file holds. In a URL the password,
and what secret parameters of its query hold, may be ``$NAME`` too. References are resolved when a
backend is opened; what is stored and shown has the reference, or ``***`` for a password.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from treadle.kernel.errors import Invalid
from treadle.kernel.plugins import factory_of

VARIABLES = {
    "database": "TREADLE_DATABASE",
    "blobs": "TREADLE_BLOBS",
    "executor": "TREADLE_EXECUTOR",
    "target": "TREADLE_TARGET",
    "sandbox": "TREADLE_SANDBOX",
    "online_store": "TREADLE_ONLINE_STORE",
}
"""The variable that holds each port's address; with ``_FILE`` after it, the file that holds it."""

_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_PASSWORD = re.compile(r"(?<=://)([^/@:]*:)(.*)(@)")
_SECRET = r"password|passwd|passphrase|secret|token|credential|signature|key"
_PARAMETER = re.compile(rf"(?i)([?&][^=&]*(?:{_SECRET})[^=&]*=)([^&]*)()")
_PUBLIC = re.compile(r"(?i)(key_?id|sslkey)=$")
"""Parameters that only sound like secrets: the id of a key, the path of a file with one."""
_DEFAULT_PORTS = {"postgresql": ":5432", "redis": ":6379", "rediss": ":6379"}


def declared_addresses(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the addresses that environment variables declare, as references, by port.

    Args:
        environment: The variables; None takes those of this process.
    """
    known = os.environ if environment is None else environment
    found = {}
    for port, variable in VARIABLES.items():
        if known.get(variable):
            found[port] = f"${variable}"
        elif known.get(f"{variable}_FILE"):
            found[port] = f"@{Path(known[f'{variable}_FILE']).expanduser().absolute()}"
    return found


def resolved(address: str) -> str:
    """Return the URL that an address stands for, with its passwords. It is only for opening it.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    return _with_secrets(_url(address), _resolved_secret)


def shown(address: str) -> str:
    """Return the URL that an address stands for, as it may be shown and stored.

    References to passwords stay what they are; other passwords become ``***``.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    return without_password(_url(address))


def without_password(url: str) -> str:
    """Return a URL whose passwords, in its user part and its query, read ``***``.

    Args:
        url: A URL; references to passwords stay what they are.
    """
    return _with_secrets(url, lambda secret: secret if _is_reference(secret) else "***")


def place_of(address: str) -> str:
    """Return what two addresses of the same place have in common: neither user nor password.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    url = shown(address)
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite":
        return f"sqlite:///{sqlite_file(url)}"
    if scheme == "file":
        return f"file://{quote(str(Path(unquote(parts.path)).resolve()))}"
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(scheme, ":"))
    secret = re.compile(f"(?i){_SECRET}")
    query = sorted(pair for pair in parse_qsl(parts.query) if not secret.search(pair[0]))
    asked = f"?{urlencode(query)}" if query else ""
    return f"{scheme}://{host}{parts.path.rstrip('/')}{asked}"


def for_settings(port: str, address: str) -> str:
    """Return an address as a home remembers it.

    Args:
        port: The port, such as ``database``.
        address: What somebody has given: a URL, or a reference to one.

    Raises:
        Invalid: It holds a password.
    """
    refuse_password(
        address, f"the variable {VARIABLES[port]}, or into a file that {VARIABLES[port]}_FILE names"
    )
    file, asks, query = address.partition("?")
    if re.match(r"sqlite(\+\w+)?:///[^:]", file):  # a relative path would mean another one later
        return f"{file.partition(':')[0]}:///{sqlite_file(file)}{asks}{query}"
    return address


def refuse_password(address: str, instead: str = "") -> None:
    """Check that an address which somebody has typed holds no password.

    Args:
        address: A URL, or a reference to one.
        instead: Where the whole URL may be put instead; empty where it must be typed.

    Raises:
        Invalid: It holds one.
    """
    if any(not _is_reference(secret) for secret in _secrets_of(address, public=False)):
        whole = f"; or put the whole URL into {instead}" if instead else ""
        raise Invalid(
            f"The address {without_password(address)} holds a password, which the list of "
            "processes would show. Put the password into an environment variable and write $NAME "
            f"in its place, as in '{_example(address)}'{whole}."
        )


def variables_of(address: str) -> set[str]:
    """Return the names of the environment variables that an address needs.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    found = (_REFERENCE.fullmatch(text) for text in [address, *_secrets_of(_url(address))])
    return {match[1] or match[2] for match in found if match}


def sqlite_file(url: str) -> Path:
    """Return the file of an SQLite database.

    Args:
        url: Its URL; the path is what follows ``sqlite:///``.
    """
    return Path(url.partition("?")[0].partition(":///")[2]).expanduser().resolve()


def backend(port: str, address: str, *arguments: Any) -> Any:
    """Make the backend that an address names. It tells its URL without passwords.

    Args:
        port: The port's name, such as ``blobs``.
        address: The backend's URL, or a reference to it.
        *arguments: What backends of this port take after the URL.

    Raises:
        Invalid: No backend handles the URL, or a reference leads nowhere.
    """
    url, public = resolved(address), shown(address)
    made = factory_of(port, url)(url, *arguments)
    if url != public and getattr(made, "url", None) == url:
        made.url = public
    return made


def _url(address: str) -> str:
    """The URL of an address, with references to passwords in it."""
    if address.startswith("@"):
        try:
            return Path(address[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(
                f"The file '{address[1:]}', which holds an address, cannot be read: {error}."
            ) from error
    return _value(address) if _is_reference(address) else address


def _resolved_secret(secret: str) -> str:
    return quote(_value(secret), safe="") if secret and _is_reference(secret) else secret


def _value(reference: str) -> str:
    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    name = match[1] or match[2]
    value = os.environ.get(name, "")
    if not value:
        raise Invalid(
            f"The environment variable '{name}' is not set, and an address of the home is "
            f"remembered as '{reference}'. Set it, and try again."
        )
    return value


def _is_reference(text: str) -> bool:
    return not text or _REFERENCE.fullmatch(text) is not None


def _with_secrets(url: str, changed: Callable[[str], str], *, public: bool = True) -> str:
    """A URL with each of its passwords changed."""

    def replaced(found: re.Match[str]) -> str:
        if not public and _PUBLIC.search(found[1]):
            return found[0]
        return f"{found[1]}{changed(found[2])}{found[3]}"

    return _PARAMETER.sub(replaced, _PASSWORD.sub(replaced, url))


def _secrets_of(url: str, *, public: bool = True) -> list[str]:
    found: list[str] = []

    def noted(secret: str) -> str:
        found.append(secret)
        return secret

    _with_secrets(url, noted, public=public)
    return found


def _example(address: str) -> str:
    """An address with references in the place of its passwords."""
    return _with_secrets(
        address, lambda secret: secret if _is_reference(secret) else "$NAME", public=False
    )
