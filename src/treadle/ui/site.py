"""What all pages of the server share: who looks, what they may ask for, how a page is drawn.

A page is a value: its path, its area, its template and a function that gives the template's facts.
The function asks the services as the page's reader may (``http/asking.py``), so a page shows
nothing that the API would not answer, and can name at its foot the operations that it asked.
"""

import gzip
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from treadle.access.model import Caller
from treadle.http.asking import AsCaller, Asked, Asking
from treadle.http.auth import CallerCache, caller_of, session_of
from treadle.http.rights import demand_somewhere
from treadle.http.searching import Apart, Turn, TurnRoute, running
from treadle.kernel.entity import to_plain, to_text
from treadle.kernel.errors import TreadleError, Unauthenticated
from treadle.kernel.escaping import python, shell
from treadle.platform.wiring import Embedded
from treadle.ui.assets import address_of
from treadle.ui.rendering import render

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_WORTH_PACKING_BYTES = 2_000


class Area(NamedTuple):
    """A part of the site that the navigation leads to.

    Attributes:
        name: The name in the navigation, and in ``Page.area``.
        path: The path of its first page.
        key: The key that leads there after ``g``.
    """

    name: str
    path: str
    key: str


class Visit(NamedTuple):
    """One reader's look at a page.

    Attributes:
        ask: The services as the reader may use them.
        caller: Who reads.
        path: The parameters of the path.
        query: The parameters behind the question mark.
    """

    ask: AsCaller
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]


class Page(NamedTuple):
    """A page of the site.

    A parameter of the path is named as what it names is named in operations (``run``, ``model``,
    ``endpoint``, ``project``, ``experiment``).

    Attributes:
        path: The path, with parameters in braces.
        area: The area whose entry in the navigation is marked.
        template: The template's file name.
        facts: Gives the template's variables. It may return a Response instead.
        turn: Among which requests it waits for its turn: the slowest kind of what it asks.
    """

    path: str
    area: str
    template: str
    facts: Callable[[Visit], Mapping[str, Any] | Response]
    turn: Turn = "quick"


class Frame(NamedTuple):
    """What stands around the facts of a page.

    Attributes:
        areas: What the navigation leads to.
        area: The area that is marked.
        signed_in: The reader's name where they have signed in.
        name_of: Gives the name by which people know an actor.
        may: Says whether the reader holds a role in a project: ``may("editor", project)``.
        has_report: Whether this home has a report that the reader may read.
        newest_event: The number of the newest event before the facts were asked for.
        asked: The operations that the facts come from.
    """

    areas: Sequence[Area] = ()
    area: str = ""
    signed_in: str = ""
    name_of: Callable[[str], str] = str
    may: Callable[..., bool] = lambda role, project="*": True  # noqa: ARG005
    has_report: bool = False
    newest_event: int = 0
    asked: Sequence[Asked] = ()


BARE = Frame()
"""Around pages that stand alone."""


def drawn(template: str, facts: Mapping[str, Any], frame: Frame = BARE) -> str:
    """Draw a page.

    Args:
        template: The template's file name.
        facts: The template's own variables.
        frame: What stands around them.
    """
    around = frame._asdict() | {"sources": [source_of(asked) for asked in frame.asked]}
    return render(template, **around, asset=address_of, **facts)


class Site:
    """Draws pages for whom their readers are.

    Args:
        platform: The services that answer.
        areas: What the navigation leads to.
    """

    def __init__(self, platform: Embedded, areas: Sequence[Area]) -> None:
        self._platform, self._areas = platform, areas
        self._asking = Asking(platform)

    def routes(self, pages: Sequence[Page]) -> list[BaseRoute]:
        """Return the routes of pages.

        Args:
            pages: The pages.
        """
        apart = Apart(CallerCache(self._platform).caller, 0)  # which no GET asks
        return [
            TurnRoute(page.path, self._endpoint(page), turn=page.turn, apart=apart, name=page.path)
            for page in pages
        ]

    def _endpoint(self, page: Page) -> Callable[[Request], Any]:
        run = running(page.turn)

        async def endpoint(request: Request) -> Response:
            try:
                caller = await run_in_threadpool(caller_of, self._platform, request)
            except Unauthenticated as error:
                return sent_to_sign_in(self._platform, request, error)
            response: Response = await run(self._drawn, page, request, caller)
            return response

        return endpoint

    def _drawn(self, page: Page, request: Request, caller: Caller) -> Response:
        ask = self._asking.services(caller)
        visit = Visit(ask, caller, request.path_params, request.query_params)
        frame = self._frame(page, request, caller)
        try:
            demand_somewhere(caller, "viewer")
            newest = self._platform.events.last_number()
            facts = page.facts(visit)
            if isinstance(facts, Response):
                return facts
            text = drawn(page.template, facts, frame._replace(asked=ask.asked, newest_event=newest))
            return _packed(request, text, 200)
        except TreadleError as error:
            if "text/html" not in request.headers.get("accept", "text/html"):
                raise
            return _packed(request, drawn("error.html", {"error": error}, frame), error.status)

    def _frame(self, page: Page, request: Request, caller: Caller) -> Frame:
        names = cache(self._platform.access.identities.readable_names)
        signed_in = (
            names().get(caller.name, caller.name) if session_of(self._platform, request) else ""
        )
        report = report_of(self._platform.settings.folder)
        return Frame(
            areas=self._areas,
            area=page.area,
            signed_in=signed_in,
            name_of=lambda actor: names().get(actor, actor),
            may=caller.may,
            has_report=report is not None and caller.may("viewer"),
        )


def report_of(home: Path) -> Path | None:
    """Return the report that the demo has written into a home; None where there is none.

    Args:
        home: The home's folder.
    """
    file = home / "report.html"
    return file if file.is_file() else None


class Source(NamedTuple):
    """How the facts of a page are had without the page.

    Attributes:
        command: The command line.
        python: The lines of Python.
        http: The HTTP request.
    """

    command: str
    python: str
    http: str


def source_of(asked: Asked) -> Source:
    """Say how an answer is had by the command line, from Python and over HTTP.

    Args:
        asked: The operation, and its arguments.
    """
    given = {name: to_plain(value) for name, value in asked.arguments.items() if value is not None}
    stage, name = asked.stage, asked.operation.name
    words = ["treadle", stage.replace("_", "-"), name.replace("_", "-")]
    for key, value in given.items():
        words += _option(key.replace("_", "-"), value)
    arguments = ", ".join(f"{key}={_python(value)}" for key, value in given.items())
    path = f"{asked.operation.method} /api/v1/{stage}/{name}"
    return Source(shell(*words), f"treadle.connect(URL).{stage}.{name}({arguments})", path)


def _option(name: str, value: object) -> list[str]:
    """A value as the command line takes it: a flag, JSON for a list or an object, else as text."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", to_text(value) if isinstance(value, list | dict) else str(value)]


def _python(value: object) -> str:
    return python(value) if isinstance(value, str) else repr(value)


def _packed(request: Request, text: str, status: int) -> Response:
    content = text.encode()
    headers = dict(HEADERS, Vary="Accept-Encoding")
    if len(content) > _WORTH_PACKING_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, compresslevel=5)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(content, status_code=status, headers=headers)


def sent_to_sign_in(platform: Embedded, request: Request, error: Unauthenticated) -> Response:
    """Send a browser that brings nothing, or a session that has ended, to sign in.

    Args:
        platform: The services that know how people sign in.
        request: The browser's request.
        error: What was wrong with what it brought.

    Raises:
        Unauthenticated: Nobody signs in here, or the request brings a token that is not valid.
    """
    if platform.sign_in is None or "authorization" in request.headers:
        raise error
    page, asked = quote(request.scope["path"]), request.url.query
    next_page = quote(f"{page}?{asked}" if asked else page)
    return RedirectResponse(f"/sign-in?next={next_page}", status_code=303)
