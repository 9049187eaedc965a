"""The first page: every project's wheel at a glance, and the first minutes of an empty home."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import RedirectResponse, Response

from treadle.loop.model import ProjectStatus
from treadle.monitoring.model import Window
from treadle.scope.model import Project, Requirement
from treadle.ui.series import sparkline
from treadle.ui.site import Page, Visit

MOST_WHEELS = 5
"""Projects whose wheels the first page shows; it links to the others."""
SPARK_WINDOWS = 40
"""Windows that the small lines beside requirements show."""


def _home(visit: Visit) -> Mapping[str, Any] | Response:
    projects = visit.ask.scope.projects()
    if not projects and visit.ask.tracking.find(limit=1):
        return RedirectResponse("/experiments", status_code=303)
    return _wheels(visit, projects[:MOST_WHEELS]) | {
        "others": [one.name for one in projects[MOST_WHEELS:]]
    }


def _project(visit: Visit) -> Mapping[str, Any]:
    return _wheels(visit, [visit.ask.scope.project(name=visit.path["project"])])


def _wheels(visit: Visit, projects: Sequence[Project]) -> dict[str, Any]:
    wheels = [visit.ask.loop.status(project=one.name) for one in projects]
    sparks = {
        one.name: _sparks(visit, one, wheel) for one, wheel in zip(projects, wheels, strict=True)
    }
    return {"wheels": wheels, "sparks": sparks}


def _sparks(visit: Visit, project: Project, wheel: ProjectStatus) -> dict[str, Any]:
    """Each requirement's values over the newest windows as a small line, by its id."""
    if wheel.window is None:
        return {}
    endpoint = wheel.window.endpoint
    windows = visit.ask.monitoring.windows(endpoint=endpoint, limit=SPARK_WINDOWS)[::-1]
    return {
        one.id: sparkline([_value(window, one) for window in windows], one.limit)
        for one in project.spec.requirement
        if not one.objective
    }


def _value(window: Window, requirement: Requirement) -> float | None:
    if requirement.metric == "latency_ms.p99":
        return window.latency_ms_p99 if window.rows else None
    measured = {one.metric: one.value for one in window.measures}
    return measured.get(requirement.metric)


PAGES = (
    Page("/", "Home", "home.html", _home),
    Page("/projects/{project}", "Home", "home.html", _project),
)
