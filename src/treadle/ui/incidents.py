"""Pages of incidents: what is wrong, who attends to it, what was done, and its review."""

from collections.abc import Mapping
from typing import Any, get_args

from treadle.incidents.model import IncidentState
from treadle.incidents.notices import runbooks_of
from treadle.ui.addresses import number_of, page_of
from treadle.ui.incident_review import facts_of
from treadle.ui.site import Area, Page, Visit

AREA = Area("Incidents", "/incidents", "i")
SHOWN = 100
"""Incidents that the list shows."""
STATES: tuple[IncidentState, ...] = get_args(IncidentState)


def _incidents(visit: Visit) -> Mapping[str, Any]:
    project = visit.query.get("project") or None
    state = next((one for one in STATES if one == visit.query.get("state")), None)
    return {
        "incidents": visit.ask.incidents.find(project=project, state=state, limit=SHOWN),
        "silences": visit.ask.incidents.silences(project=project),
        "states": STATES,
        "state": state,
        "project": project,
        "most": SHOWN,
    }


def _incident(visit: Visit) -> Mapping[str, Any]:
    incidents, number = visit.ask.incidents, _number(visit)
    incident = incidents.get(incident=number)
    return {
        "incident": incident,
        "timeline": incidents.timeline(incident=number),
        "messages": incidents.messages(incident=number),
        "runbooks": runbooks_of(incident),
        "page_of": page_of,
    }


def _review(visit: Visit) -> Mapping[str, Any]:
    review = visit.ask.reviews.draft(incident=_number(visit))
    return {"review": review, "incident": review.incident, "facts": facts_of(review)}


def _number(visit: Visit) -> int:
    return number_of(visit.path["incident"], "incident", digits=15)


PAGES = (
    Page("/incidents", AREA.name, "incidents.html", _incidents),
    Page("/incidents/{incident}", AREA.name, "incident.html", _incident),
    Page("/incidents/{incident}/review", AREA.name, "review.html", _review, turn="rows"),
)
