"""Reads what a request says of itself beside its rows: its id, key, content type and deadline."""

import re
import time
from typing import NamedTuple, Protocol

from treadle.kernel.errors import Forbidden, Invalid
from treadle.serving import open_inference
from treadle.serving.http import Exchange
from treadle.serving.limits import Callers
from treadle.serving.request_reader import HeaderList

_AUTHORIZATION = b"authorization"
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Headers(NamedTuple):
    """What a request's headers say of it.

    Attributes:
        id: The request's id; empty where none is given.
        kind: The content type.
        key: The key that chooses the variant, or None.
        timeout_seconds: How long the caller waits, or None.
        inference: The length of an Open Inference request's JSON, or None.
    """

    id: str
    kind: bytes
    key: str | None
    timeout_seconds: float | None
    inference: bytes | None


_NO_HEADERS = Headers("", b"", None, None, None)


class Headed(Protocol):
    """What has headers: an HTTP request, or a call by gRPC."""

    headers: HeaderList


def admit(callers: Callers | None, headers: HeaderList) -> str | None:
    """Admit a request by its token, and return its caller's name; None where none is asked.

    Args:
        callers: Who may send requests; None for everybody.
        headers: The request's headers.

    Raises:
        Unauthenticated: The token is missing or unknown.
        Limited: The caller sends too fast.
    """
    if callers is None:
        return None
    token = next((value for name, value in headers if name == _AUTHORIZATION), None)
    return callers.admit(token, time.monotonic())


def log_facts(headers: HeaderList, caller: str | None) -> dict[str, str | None]:
    """What a record of a log says of a request: its id, if it has a plain one, and its caller.

    Args:
        headers: The request's headers.
        caller: The caller's name, or None.
    """
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    plain = re.fullmatch(rb"[A-Za-z0-9._:-]{1,80}", given)
    return {"request_id": given.decode() if plain else None, "actor": caller}


def read_headers(exchange: Headed) -> Headers:
    """Read a request's headers.

    Args:
        exchange: The request.

    Raises:
        Invalid: A header is too long, holds a control character, or is no time.
    """
    id, kind, key, timeout, inference = _NO_HEADERS
    for name, value in exchange.headers:
        if name == b"content-type":
            kind = value.lower()
        elif name == b"x-request-id":
            id = _bounded(value, "X-Request-Id")
        elif name == b"x-treadle-key":
            key = _bounded(value, "X-Treadle-Key")
        elif name in (b"x-request-timeout", b"grpc-timeout"):
            timeout = _seconds(value)
        elif name == open_inference.LENGTH_HEADER:
            inference = value
    return Headers(id, kind, key, timeout, inference)


def refuse_foreign_pages(exchange: Exchange) -> None:
    """Refuse what a page of another site sends through somebody's browser, as by a form.

    Args:
        exchange: The request; its Origin tells, or what the browser says of the page's site.

    Raises:
        Forbidden: Another site's page has sent it.
    """
    for name, value in exchange.headers:
        if name == b"sec-fetch-site":
            foreign = value not in (b"none", b"same-origin")
        elif name == b"origin":
            host = next((given for key, given in exchange.headers if key == b"host"), b"")
            foreign = value.rpartition(b"//")[2] != host
        else:
            continue
        if foreign:
            raise Forbidden("Pages of other sites may not ask this server.")


def _bounded(value: bytes, name: str) -> str:
    if len(value) > 200:
        raise Invalid(f"The header {name} is longer than 200 characters.")
    text = value.decode("latin-1")
    if not text.isprintable():
        raise Invalid(f"The header {name} holds a control character.")
    return text


def _seconds(value: bytes) -> float:
    """How long a caller waits: seconds (`0.25`), or a number with gRPC's unit (`250m`)."""
    text = value.decode("latin-1")
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1.0)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise Invalid(
            f"The header X-Request-Timeout is '{text[:40]}'; "
            "wanted are seconds, or a number with a unit: 250m."
        )
    return seconds


def printable(request: str | None) -> str | None:
    """Return the id that a request's body gives, or None.

    Args:
        request: The id, or None.

    Raises:
        Invalid: The id is too long, or not printable ASCII.
    """
    if request is not None and (
        len(request) > 200 or not request.isascii() or not request.isprintable()
    ):
        raise Invalid("Field 'id': at most 200 printable ASCII characters are taken.")
    return request
