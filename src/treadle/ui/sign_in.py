"""Signs people in at an identity provider, and out, and hands them tokens for their programs."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import parse_qs

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from treadle.access.model import NewToken
from treadle.http.attempts import Attempt, Attempts, local_path
from treadle.http.auth import caller_of, session_of
from treadle.http.bodies import body_of
from treadle.kernel.errors import Invalid, TreadleError, Unauthenticated
from treadle.kernel.operation import ROLES, Role
from treadle.platform.sign_in import CALLBACK, SignIn
from treadle.platform.signing import signing_keys
from treadle.platform.wiring import Embedded
from treadle.ui.rendering import render

T = TypeVar("T")
AT_ONCE = 8
"""Questions to the provider at a time: they must not take the threads that all requests share."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with no-referrer, forms would send no Origin
    "X-Content-Type-Options": "nosniff",
}
_FORM_BYTES = 4096


class SignInPages:
    """The pages by which people come in and go.

    Args:
        platform: The services that know users and tokens.
        sign_in: How people sign in.
    """

    def __init__(self, platform: Embedded, sign_in: SignIn) -> None:
        self._platform, self._sign_in = platform, sign_in
        self._attempts = Attempts(signing_keys(platform.settings.folder).current.secret.encode())
        self._limiter: CapacityLimiter | None = None

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pages."""
        return [
            Route("/sign-in", self._page),
            Route("/sign-in/start", self._start),
            Route(CALLBACK, self._callback),
            Route("/sign-in/token", self._with_token),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/token", self._token_page, methods=["GET"]),
            Route("/token", self._new_token, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        """Offer the ways to come in."""
        return self._shown(local_path(request.query_params.get("next", "/")))

    async def _start(self, request: Request) -> Response:
        """Send the browser to the provider."""
        next_page = request.query_params.get("next", "/")
        attempts, issuer = self._attempts, self._sign_in.declared.issuer
        attempt = attempts.begin(issuer=issuer, next_page=next_page)
        secrets = {
            "state": attempts.state(attempt),
            "nonce": attempts.nonce(attempt),
            "verifier": attempts.verifier(attempt),
        }
        try:
            to = await self._asked(lambda: self._sign_in.provider.address(**secrets))
        except TreadleError as error:
            return self._shown(attempt.next, error)
        answer = RedirectResponse(to, status_code=303, headers=HEADERS)
        self._set_cookie(answer, "attempt", attempts.sealed(attempt), seconds=600)
        return answer

    async def _callback(self, request: Request) -> Response:
        """Open a session for whom the provider sends back."""
        try:
            said = _once(request)
            attempt = self._attempts.take(
                request.cookies.get(self._sign_in.cookie("attempt"), ""),
                state=said.get("state", ""),
                issuer=self._sign_in.declared.issuer,
            )
            session = await self._asked(lambda: self._session(said, attempt))
        except TreadleError as error:
            answer = self._shown("/", error)
        else:
            # The whole URL: no path that a browser reads in its own way leads elsewhere.
            to = self._sign_in.url + attempt.next
            answer = RedirectResponse(to, status_code=303, headers=HEADERS)
            seconds = int(self._sign_in.session.total_seconds())
            self._set_cookie(answer, "session", session.secret, seconds=seconds)
        self._remove_cookie(answer, "attempt")
        return answer

    def _session(self, said: dict[str, str], attempt: Attempt) -> NewToken:
        if "error" in said or not said.get("code"):
            words = said.get("error_description") or said.get("error") or "it sent no code"
            raise Unauthenticated(f"{self._sign_in.title} did not sign you in: {words[:200]}.")
        identity = self._sign_in.provider.identify(
            code=said["code"],
            nonce=self._attempts.nonce(attempt),
            verifier=self._attempts.verifier(attempt),
            issuer=said.get("iss"),
        )
        return self._platform.access.identities.sign_in(
            user=self._sign_in.user(identity),
            readable_name=self._sign_in.readable_name(identity),
            roles=self._sign_in.roles(identity.claims),
            lasts=self._sign_in.session,
        )

    async def _with_token(self, request: Request) -> Response:
        """Ask the browser for a token; it keeps it, and sends it as a password."""
        await run_in_threadpool(caller_of, self._platform, request)
        return RedirectResponse("/", status_code=303, headers=HEADERS)

    async def _sign_out(self, request: Request) -> Response:
        """End the session."""
        session = session_of(self._platform, request)
        with suppress(Unauthenticated):  # it has ended already; foreign pages are refused even so
            await run_in_threadpool(caller_of, self._platform, request)
        await run_in_threadpool(self._platform.access.identities.sign_out, session)
        answer = RedirectResponse("/sign-in", status_code=303, headers=HEADERS)
        self._remove_cookie(answer, "session")
        return answer

    async def _token_page(self, request: Request) -> Response:
        """Offer a token for a program."""
        try:
            await run_in_threadpool(caller_of, self._platform, request)
        except Unauthenticated:
            return RedirectResponse("/sign-in?next=/token", status_code=303, headers=HEADERS)
        return self._token_shown(None)

    async def _new_token(self, request: Request) -> Response:
        """Make a token for a program, and show it once."""
        caller = await run_in_threadpool(caller_of, self._platform, request)
        form = parse_qs((await body_of(request, _FORM_BYTES)).decode("utf-8", "replace"))
        asked = form.get("max_role", ["viewer"])[0]
        max_role: Role | None = next((role for role in ROLES if role == asked), None)
        if max_role is None:
            raise Invalid(f"Field 'max_role': choose one of {', '.join(ROLES)}.")
        made = await run_in_threadpool(
            lambda: self._platform.access.identities.hand_out(
                user=caller.name, max_role=max_role, lasts=self._sign_in.token
            )
        )
        return self._token_shown(made)

    def _token_shown(self, token: NewToken | None) -> Response:
        lasts = self._sign_in.declared.token
        url = self._sign_in.url
        page = render("token.html", token=token, roles=ROLES, lasts=lasts, url=url)
        return HTMLResponse(page, headers=HEADERS)

    def _shown(self, next_page: str, error: TreadleError | None = None) -> Response:
        """The page that offers to sign in, with what went wrong before."""
        said = error.message if error else ""
        page = render("sign_in.html", title=self._sign_in.title, next=next_page, error=said)
        return HTMLResponse(page, status_code=error.status if error else 200, headers=HEADERS)

    async def _asked(self, question: Callable[[], T]) -> T:
        """Ask the provider in a thread, when it is this question's turn."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(AT_ONCE)
        return await to_thread.run_sync(question, limiter=self._limiter)

    def _set_cookie(self, answer: Response, name: str, value: str, *, seconds: int) -> None:
        answer.set_cookie(
            self._sign_in.cookie(name),
            value,
            max_age=seconds,
            path="/",
            secure=self._sign_in.is_secure,
            httponly=True,
            samesite="lax",
        )

    def _remove_cookie(self, answer: Response, name: str) -> None:
        self._set_cookie(answer, name, "", seconds=0)


def _once(request: Request) -> dict[str, str]:
    """The parameters of a request; what is given twice could be read in two ways."""
    given = request.query_params.multi_items()
    if len(dict(given)) != len(given):
        raise Unauthenticated("The answer of the identity provider says one thing twice.")
    return dict(given)
