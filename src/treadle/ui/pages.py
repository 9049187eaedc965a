"""Serves the pages of ``treadle up``: every project's status, and a page to try the operations."""

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.rights import demand, demand_somewhere
from treadle.kernel import escaping
from treadle.kernel.errors import NotFound
from treadle.platform.wiring import Embedded

_templates = Environment(
    loader=PackageLoader("treadle.ui"), autoescape=select_autoescape(), finalize=escaping.html
)


def render(template: str, **facts: object) -> str:
    """Render a template of this package.

    Args:
        template: The template's file name.
        facts: The template's variables.
    """
    return _templates.get_template(template).render(**facts)


def pages(platform: Embedded) -> list[BaseRoute]:
    """Return the routes of the pages.

    Args:
        platform: The services that answer.
    """

    def wheel(caller: Caller) -> str:
        projects = [
            project for project in platform.scope.projects() if caller.may("viewer", project.name)
        ]
        wheels = [platform.loop.status(project=project.name) for project in projects]
        has_report = report_of(platform.settings.folder) is not None
        return render("status.html", wheels=wheels, report=has_report)

    async def home(request: Request) -> Response:
        caller = await run_in_threadpool(caller_of, platform, request)
        demand_somewhere(caller, "viewer")
        return HTMLResponse(await run_in_threadpool(wheel, caller))

    async def report(request: Request) -> Response:
        demand(await run_in_threadpool(caller_of, platform, request), "viewer")
        file = report_of(platform.settings.folder)
        if file is None:
            raise NotFound("This home has no report. 'treadle demo --home DIR' writes one.")
        return FileResponse(file)

    async def explorer(_: Request) -> Response:
        page = files("treadle.ui").joinpath("templates", "api.html")
        return HTMLResponse(page.read_text(encoding="utf-8"))

    return [Route("/", home), Route("/report", report), Route("/api", explorer)]


def report_of(home: Path) -> Path | None:
    """Return the report that the demo has written into a home; None where there is none.

    Args:
        home: The home's folder.
    """
    file = home / "report.html"
    return file if file.is_file() else None
