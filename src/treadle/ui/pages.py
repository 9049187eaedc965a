"""The pages of ``treadle up``: the areas of the site, and the routes that belong to no area."""

from importlib.resources import files

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from treadle.http.auth import caller_of
from treadle.http.rights import demand
from treadle.kernel.errors import NotFound, Unauthenticated
from treadle.platform.wiring import Embedded
from treadle.ui import (
    data_pages,
    endpoints,
    events,
    experiments,
    governance,
    home,
    incidents,
    infrastructure,
    models,
    monitors,
    pipeline_pages,
    runs,
    studies,
    traces,
)
from treadle.ui.assets import asset_route
from treadle.ui.live import live_route
from treadle.ui.mlflow_pages import mlflow_page_routes
from treadle.ui.sign_in import SignInPages
from treadle.ui.site import Area, Page, Site, report_of, sent_to_sign_in

AREAS: tuple[Area, ...] = (
    Area("Home", "/", "h"),
    experiments.AREA,
    traces.AREA,
    Area("Data", "/data", "a"),
    Area("Pipelines", "/pipelines", "p"),
    Area("Models", "/models", "m"),
    Area("Deployments", "/endpoints", "d"),
    Area("Monitoring", "/monitoring", "o"),
    incidents.AREA,
    Area("Events", "/events", "v"),
    governance.AREA,
    Area("Infrastructure", "/infrastructure", "f"),
)
"""What the navigation leads to, in its order."""

PAGES: tuple[Page, ...] = (
    *home.PAGES,
    *experiments.PAGES,
    *runs.PAGES,
    *studies.PAGES,
    *traces.PAGES,
    *data_pages.PAGES,
    *pipeline_pages.PAGES,
    *models.PAGES,
    *endpoints.PAGES,
    *monitors.PAGES,
    *incidents.PAGES,
    *events.PAGES,
    *governance.PAGES,
    *infrastructure.PAGES,
)


def pages(platform: Embedded) -> list[BaseRoute]:
    """Return the routes of the pages.

    Args:
        platform: The services that answer.
    """

    async def report(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
        except Unauthenticated as error:
            return sent_to_sign_in(platform, request, error)
        demand(caller, "viewer")
        file = report_of(platform.settings.folder)
        if file is None:
            raise NotFound("This home has no report. 'treadle demo --home DIR' writes one.")
        return FileResponse(file)

    async def explorer(_: Request) -> Response:
        page = files("treadle.ui").joinpath("templates", "api.html")
        return HTMLResponse(page.read_text(encoding="utf-8"))

    own = [Route("/report", report), Route("/api", explorer), asset_route(), live_route(platform)]
    signing_in = SignInPages(platform, platform.sign_in).routes() if platform.sign_in else []
    return [*Site(platform, AREAS).routes(PAGES), *own, *mlflow_page_routes(platform), *signing_in]
