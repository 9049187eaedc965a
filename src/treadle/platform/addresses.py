"""Addresses: where a backend is, as a URL or as a reference to one, with passwords by reference.

``$NAME`` is what an environment variable holds, ``@FILE`` what a file holds. In a URL the password,
and what secret parameters of its query hold, may be ``$NAME`` too. References are resolved when a
backend is opened; what is stored and shown has the reference, or ``***`` for a password.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from treadle.kernel.errors import Invalid
from treadle.kernel.plugins import factory_of
from treadle.platform.url_secrets import is_secret, parsed, secrets_of, with_secrets

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
_UNCHANGED = "%!$&'()*+,;=~"
"""Characters of a secret that mean the same wherever they stand in a URL; ``%`` begins a code."""
_DEFAULT_PORTS = {"postgresql": ":5432", "http": ":80", "https": ":443"}
_SERVER = ("host", "hostaddr", "port", "service", "dbname", "search_path")
"""Parameters by which a URL of PostgreSQL names its server and database."""
_ENDPOINT = re.compile(r"(?i)(aws_)?endpoint(_url)?(_s3)?")


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

    What drivers read in different ways, such as an ``@`` of a user's name, is encoded.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    url = _url(address)
    source = "" if url == address else address
    opened = parsed(with_secrets(url, lambda secret: _resolved_secret(secret, source)))
    user = None if opened.user is None else quote(opened.user, safe=_UNCHANGED)
    parameters = [one.replace("@", "%40") for one in opened.parameters]
    return str(opened._replace(user=user, parameters=parameters))


def shown(address: str) -> str:
    """Return the URL that an address stands for, as it may be shown and stored.

    References to variables that are set stay what they are; other passwords become ``***``.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    return without_password(_url(address))


def without_password(url: str) -> str:
    """Return a URL whose passwords, in its user part and its query, read ``***``.

    Args:
        url: A URL; references to variables that are set stay what they are. Where no such variable
            is set, the ``$`` may begin a password.
    """
    return with_secrets(url, lambda secret: secret if _is_set(secret) else "***")


def place_of(address: str) -> str:
    """Return what two addresses of the same place have in common.

    It is where the place is: neither user nor password, and no options of the connection.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    return _place(shown(address))


def _place(url: str) -> str:
    parts = parsed(url)
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme == "sqlite":
        return f"sqlite:///{sqlite_file(url)}"
    place = parts.place if parts.scheme else parts.place.partition(":")[2]
    host, slash, path = place.partition("/")
    if scheme == "file":
        return f"file://{quote(str(Path(unquote(slash + path)).resolve()))}"
    host = host.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ":"))
    query = sorted(_naming(scheme, parse_qsl("&".join(parts.parameters))))
    asked = f"?{urlencode(query)}" if query else ""
    return f"{scheme}://{host}{(slash + path).rstrip('/')}{asked}"


def _naming(scheme: str, parameters: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The parameters that name a place; of backends that we do not know, all but secrets."""
    for name, value in parameters:
        if scheme == "postgresql":
            if name in _SERVER and (name, value) != ("port", "5432"):
                yield name, value
            elif name == "options" and (path := re.search(r"search_path\s*=\s*(\S+)", value)):
                yield "search_path", path[1]
        elif scheme == "s3":
            if _ENDPOINT.fullmatch(name):
                yield "endpoint", _place(value)
        elif not is_secret(name):
            yield name, value


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
        Invalid: It holds one, or a reference to a variable that is not set.
    """
    refused = [secret for secret in secrets_of(address, hidden=False) if not _is_set(secret)]
    if refused and all(map(_is_reference, refused)):
        raise Invalid(
            f"The address {without_password(address)} has $NAME in the place of a password, and no "
            "environment variable of that name is set. Set it, and try again. A password that "
            "begins with $ goes into a variable, too."
        )
    if refused:
        whole = f"; or put the whole URL into {instead}" if instead else ""
        raise Invalid(
            f"The address {without_password(address)} holds a password, which the list of "
            "processes would show. Put the password into an environment variable and write $NAME "
            f"in its place, as in '{_example(address)}'{whole}."
        )


def variables_of(address: str) -> set[str]:
    """Return the names of the environment variables that an address refers to and that are set.

    Args:
        address: A URL, or a reference to one.

    Raises:
        Invalid: A variable is not set, or a file cannot be read.
    """
    texts = filter(_is_set, [address, *secrets_of(_url(address))])
    found = map(_REFERENCE.fullmatch, texts)
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


def _resolved_secret(secret: str, source: str) -> str:
    """What a secret reads in a URL that is opened; ``source`` refers to the URL, if anything."""
    if not secret or not _is_reference(secret):
        return quote(secret, safe=_UNCHANGED)
    if source and not _is_set(secret):
        raise Invalid(
            f"The URL that {source} stands for has a password that begins with $, and no "
            "environment variable has that name. Set it, or write %24 for a literal $."
        )
    return quote(_value(secret), safe="")


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


def _is_set(text: str) -> bool:
    """Whether a text is empty, or a reference to a variable that is set."""
    match = _REFERENCE.fullmatch(text)
    return not text or (match is not None and bool(os.environ.get(match[1] or match[2])))


def _example(address: str) -> str:
    """An address with references in the place of its passwords."""
    return with_secrets(
        address, lambda secret: secret if _is_set(secret) else "$NAME", hidden=False
    )
