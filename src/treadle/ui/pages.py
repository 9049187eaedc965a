"""Serves the pages of ``treadle up``: every project's status, and a page to try the operations."""

from importlib.resources import files
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of, session_of
from treadle.http.rights import demand, demand_somewhere
from treadle.kernel.errors import NotFound, Unauthenticated
from treadle.platform.wiring import Embedded
from treadle.ui.rendering import render
from treadle.ui.sign_in import SignInPages


def pages(platform: Embedded) -> list[BaseRoute]:
    """Return the routes of the pages.

    Args:
        platform: The services that answer.
    """

    def wheel(caller: Caller, has_session: bool) -> str:
        projects = [
            project for project in platform.scope.projects() if caller.may("viewer", project.name)
        ]
        wheels = [platform.loop.status(project=project.name) for project in projects]
        has_report = report_of(platform.settings.folder) is not None
        names = platform.access.identities.readable_names()
        signed_in = names.get(caller.name, caller.name) if has_session else ""
        return render(
            "status.html", wheels=wheels, report=has_report, names=names, signed_in=signed_in
        )

    async def home(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
        except Unauthenticated as error:
            return _sent_to_sign_in(platform, request, error)
        demand_somewhere(caller, "viewer")
        has_session = bool(session_of(platform, request))
        return HTMLResponse(await run_in_threadpool(wheel, caller, has_session))

    async def report(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
        except Unauthenticated as error:
            return _sent_to_sign_in(platform, request, error)
        demand(caller, "viewer")
        file = report_of(platform.settings.folder)
        if file is None:
            raise NotFound("This home has no report. 'treadle demo --home DIR' writes one.")
        return FileResponse(file)

    async def explorer(_: Request) -> Response:
        page = files("treadle.ui").joinpath("templates", "api.html")
        return HTMLResponse(page.read_text(encoding="utf-8"))

    own = [Route("/", home), Route("/report", report), Route("/api", explorer)]
    return [*own, *(SignInPages(platform, platform.sign_in).routes() if platform.sign_in else ())]


def _sent_to_sign_in(platform: Embedded, request: Request, error: Unauthenticated) -> Response:
    """Send a browser that brings nothing, or a session that has ended, to sign in.

    Raises:
        Unauthenticated: Nobody signs in here, or the request brings a token that is not valid.
    """
    if platform.sign_in is None or "authorization" in request.headers:
        raise error
    return RedirectResponse(f"/sign-in?next={request.url.path}", status_code=303)


def report_of(home: Path) -> Path | None:
    """Return the report that the demo has written into a home; None where there is none.

    Args:
        home: The home's folder.
    """
    file = home / "report.html"
    return file if file.is_file() else None
