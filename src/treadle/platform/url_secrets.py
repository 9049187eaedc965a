"""Finds every secret of a URL: the password of its user part, and secret parameters of its query.

Drivers read odd URLs in different ways: SQLAlchemy lets a password go on over ``/`` and ``?`` up to
an ``@``, others end the user part at the first ``/``. What any of them may take for a password
counts as one here.
"""

import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote, unquote_plus

_SCHEME = re.compile(r"[^/?#@]*://")
_USER = re.compile(r"(?s)(?P<user>[^/:]*)(?::(?P<password>.*))?@")
_CUT_SHORT = re.compile(r"(?s)(?!([^/:]*@)?\[)[^/:]*:(?!\d*(/|$))[^@]*")
"""A name, and after it neither a port nor an ``@``: a password that has a ``?`` further on."""
_SECRET = re.compile(
    r"(?i).*(password|passwd|passphrase|secret|token|credentials?|signature|key)(_base64|_json)?"
    r"|(.*[_-])?(pass|pwd|sig)"
)
_NO_SECRET = re.compile(r"(?i)(aws_)?skip_signature|sslkey")
_HIDDEN = re.compile(r"(?i).*key_?id|sslkey")
"""Parameters that are hidden although they are no secrets: a key's id, the path of its file."""


class URL(NamedTuple):
    """A URL taken apart; as text it is the URL again.

    Attributes:
        scheme: What stands before the user part, with ``://``.
        user: The user's name; None for none.
        password: The password; None for none.
        place: The host and the path.
        parameters: The parameters of the query, as they are written.
    """

    scheme: str
    user: str | None
    password: str | None
    place: str
    parameters: list[str]

    def __str__(self) -> str:
        password = "" if self.password is None else f":{self.password}"
        user = "" if self.user is None else f"{self.user}{password}@"
        query = f"?{'&'.join(self.parameters)}" if self.parameters else ""
        return f"{self.scheme}{user}{self.place}{query}"


def parsed(text: str) -> URL:
    """Take a URL apart.

    Args:
        text: The URL, or what else somebody has given.
    """
    found = _SCHEME.match(text)
    if not found:
        place, *query = text.split("?", 1)
        return URL("", None, None, place, query[0].split("&") if query else [])
    rest, query = _without_query(text[found.end() :])
    parameters = query[0].split("&") if query else []
    user = _USER.match(rest)
    if not user:
        return URL(found[0], None, None, rest, parameters)
    return URL(found[0], user["user"], user["password"], rest[user.end() :], parameters)


def is_secret(parameter: str, *, hidden: bool = True) -> bool:
    """Tell whether a parameter holds a secret, by its name.

    Args:
        parameter: Its name, decoded.
        hidden: Whether those count that are hidden and no secrets.
    """
    if hidden and _HIDDEN.fullmatch(parameter):
        return True
    return bool(_SECRET.fullmatch(parameter)) and not _NO_SECRET.fullmatch(parameter)


def with_secrets(text: str, changed: Callable[[str], str], *, hidden: bool = True) -> str:
    """Return a URL each of whose secrets is changed, those of URLs in its parameters too.

    Args:
        text: The URL.
        changed: Gives what a secret becomes, both as they are written in a URL.
        hidden: Whether parameters count that are hidden and no secrets.
    """
    url = parsed(text)
    if url.password is not None:
        url = url._replace(password=changed(url.password))
    parameters = [_parameter(one, changed, hidden) for one in url.parameters]
    return str(url._replace(parameters=parameters))


def secrets_of(text: str, *, hidden: bool = True) -> list[str]:
    """Return the secrets of a URL, as they are written.

    Args:
        text: The URL.
        hidden: Whether parameters count that are hidden and no secrets.
    """
    found: list[str] = []

    def noted(secret: str) -> str:
        found.append(secret)
        return secret

    with_secrets(text, noted, hidden=hidden)
    return found


def _without_query(rest: str) -> tuple[str, list[str]]:
    """What stands before the query, and the query; a ``?`` of a password begins none."""
    for mark in re.finditer(r"\?", rest):
        before, query = rest[: mark.start()], rest[mark.end() :]
        inside = re.match(r"[^=&]*@", query) or ("@" in query and _CUT_SHORT.fullmatch(before))
        if not inside:
            return before, [query]
    return rest, []


def _parameter(written: str, changed: Callable[[str], str], hidden: bool) -> str:
    name, equals, value = written.partition("=")
    if is_secret(unquote_plus(name), hidden=hidden):
        return f"{name}{equals}{changed(value)}"
    inner = unquote_plus(value)
    if "://" in inner and (other := with_secrets(inner, changed, hidden=hidden)) != inner:
        return f"{name}{equals}{quote(other, safe=':/*$')}"
    return written
