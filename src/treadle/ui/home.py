"""The first page: every project's wheel at a glance, and the first minutes of an empty home."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import RedirectResponse, Response

from treadle.ui.site import Page, Visit


def _home(visit: Visit) -> Mapping[str, Any] | Response:
    wheels = [visit.ask.loop.status(project=one.name) for one in visit.ask.scope.projects()]
    if not wheels and visit.ask.tracking.find(limit=1):
        return RedirectResponse("/experiments", status_code=303)
    return {"wheels": wheels}


def _project(visit: Visit) -> Mapping[str, Any]:
    return {"wheels": [visit.ask.loop.status(project=visit.path["project"])]}


PAGES = (
    Page("/", "Home", "home.html", _home),
    Page("/projects/{project}", "Home", "home.html", _project),
)
