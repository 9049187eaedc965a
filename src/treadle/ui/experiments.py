"""Pages of experiments: what was tried, as tables and charts of many runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

from treadle.tracking.model import Experiment, SavedView
from treadle.tracking.overviews import Activity
from treadle.ui.addresses import number_of
from treadle.ui.site import Area, Page, Visit

AREA = Area("Experiments", "/experiments", "e")


class Line(NamedTuple):
    """A line of the list of experiments.

    Attributes:
        experiment: The experiment.
        activity: How much happens in it; None where it has no runs.
    """

    experiment: Experiment
    activity: Activity | None

    @property
    def last_at(self) -> datetime:
        """When a run began last, or it was changed."""
        return self.activity.last_at if self.activity else self.experiment.updated_at


def _experiments(visit: Visit) -> Mapping[str, Any]:
    deleted = visit.query.get("view") == "deleted"
    project = visit.query.get("project") or None
    found = visit.ask.tracking.experiments(view="deleted" if deleted else "active", project=project)
    activity = {
        one.experiment: one
        for one in ([] if deleted else visit.ask.tracking.activity(project=project))
    }
    lines = [Line(one, activity.get(one.id)) for one in found]
    return {
        "lines": sorted(lines, key=lambda line: line.last_at, reverse=True),
        "deleted": deleted,
        "project": project,
        "runs": sum(one.runs for one in activity.values()),
    }


def _experiment(visit: Visit) -> Mapping[str, Any]:
    number = number_of(visit.path["experiment"], "experiment")
    experiment = visit.ask.tracking.experiment(id=number)
    views = visit.ask.views.find(project=experiment.project)
    return {
        "experiment": experiment,
        "views": [link_of(view) for view in views if number in view.experiments],
        "tab": visit.query.get("tab", "runs"),
        "filter": visit.query.get("filter", ""),
    }


class ViewLink(NamedTuple):
    """A saved view, and what leads to it.

    Attributes:
        view: The view.
        query: The parameters of its address.
    """

    view: SavedView
    query: str


def link_of(view: SavedView) -> ViewLink:
    """Say what leads to a view.

    Args:
        view: The view.
    """
    query = [("filter", view.filter)] if view.filter else []
    query += [("order", one) for one in view.order] + [("column", one) for one in view.columns]
    return ViewLink(view, urlencode(query, errors="replace"))


PAGES = (
    Page("/experiments", AREA.name, "experiments.html", _experiments),
    Page("/experiments/{experiment}", AREA.name, "experiment.html", _experiment),
)
