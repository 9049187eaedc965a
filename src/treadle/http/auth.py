"""Who is asking: a bearer token, the password of Basic authentication, or a session's cookie."""

import base64
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from treadle.access.model import Caller
from treadle.kernel.clock import monotonic
from treadle.kernel.errors import Forbidden, Unauthenticated
from treadle.platform.wiring import Embedded

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def caller_of(platform: Embedded, request: Request) -> Caller:
    """The caller of a request.

    Without tokens everybody on this machine may come in; but not every web page that a browser on
    this machine shows.

    Args:
        platform: The services that know the tokens.
        request: The request; its Authorization, Cookie, Host and Origin decide.

    Raises:
        Unauthenticated: A token is required and none that is valid was sent.
        Forbidden: The request comes from a page of another site.
    """
    header = request.headers.get("authorization", "")
    secret = _secret(header)
    session = "" if header else session_of(platform, request)
    if session:
        _refuse_nameless_pages(request)
    if not secret or not header.lower().startswith("bearer "):
        own = () if platform.sign_in is None else (urlsplit(platform.sign_in.url).netloc,)
        _refuse_foreign_pages(request, own_hosts=own, with_password=bool(secret or session))
    return platform.access.caller(secret or session or None)


def session_of(platform: Embedded, request: Request) -> str:
    """The secret of the session that a browser has opened by signing in; empty for none.

    Args:
        platform: The services that know how people sign in.
        request: The request.
    """
    sign_in = platform.sign_in
    return "" if sign_in is None else request.cookies.get(sign_in.cookie("session"), "")


_DECIDING = ("authorization", "cookie", "host", "origin", "sec-fetch-site", "sec-fetch-mode")
"""The headers that decide who a caller of a hot write is."""


class CallerCache:
    """Remembers for a moment whose a token is, so that not every call reads the database.

    A token that is revoked comes in for at most ``MAX_AGE_SECONDS`` seconds more, and one that has
    expired for none.

    Args:
        platform: The services that know the tokens.
    """

    MAX_AGE_SECONDS = 1.0

    def __init__(self, platform: Embedded) -> None:
        self._platform = platform
        self._known: dict[tuple[str | None, ...], tuple[float, Caller]] = {}

    async def caller(self, request: Request) -> Caller:
        """The caller of a request, as ``caller_of`` tells it.

        Args:
            request: The request; its Authorization, Host and Origin decide.

        Raises:
            TreadleError: What ``caller_of`` raises.
        """
        headers = request.headers
        key = tuple(map(headers.get, _DECIDING))
        now = monotonic()
        found = self._known.get(key)
        if found is not None and now - found[0] < self.MAX_AGE_SECONDS and self._lasts(found[1]):
            return found[1]
        caller = await run_in_threadpool(caller_of, self._platform, request)
        if len(self._known) > 1_000:
            self._known.clear()
        self._known[key] = (now, caller)
        return caller

    def _lasts(self, caller: Caller) -> bool:
        """Whether what identifies a caller has not expired."""
        return caller.expires_at is None or self._platform.clock.now() < caller.expires_at


def _refuse_nameless_pages(request: Request) -> None:
    """Refuse what changes something by a session, and does not say which page has sent it.

    Browsers add the cookie by themselves, and the Origin to all but reads.
    """
    if request.method not in ("GET", "HEAD") and "origin" not in request.headers:
        raise Forbidden(
            "A request by a session says from which page it comes (Origin). Programs send a token "
            "instead, as 'Authorization: Bearer TOKEN'."
        )


def _refuse_foreign_pages(
    request: Request, *, own_hosts: Collection[str], with_password: bool
) -> None:
    """Refuse what a page of another site sends.

    Its Origin tells, or what browsers say of its site, or its Host where the other site's name was
    made to lead to this machine. A browser that knows a password or a cookie adds it to a foreign
    page's requests too, so they excuse the Host only.
    """
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    try:
        at_home = with_password or host in own_hosts or urlsplit(f"//{host}").hostname in LOOPBACK
        ours = at_home and (origin is None or urlsplit(origin).netloc == host)
    except ValueError:
        ours = False
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # A link that somebody follows is no request of the page that it stands on.
        followed = request.headers.get("sec-fetch-mode") == "navigate"
        ours = ours and followed and request.method in ("GET", "HEAD")
    if not ours:
        raise Forbidden(
            f"Only this server's own pages and programs are served, not '{origin or host}'."
        )


def _secret(header: str) -> str | None:
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError as error:
            raise Unauthenticated(
                "The Basic authorization header is not valid base64 of NAME:TOKEN."
            ) from error
    return None
