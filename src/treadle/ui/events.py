"""Pages of the event log, which is the audit log: what happened, who did it, and why."""

from collections.abc import Mapping
from typing import Any

from treadle.events.model import EventRecord
from treadle.kernel.errors import NotFound
from treadle.kernel.event import Event
from treadle.ui.addresses import number_of, page_of
from treadle.ui.site import Page, Visit

AT_ONCE = 100
"""Events on one page."""
MOST_EFFECTS = 200
"""Effects that a page of one event lists."""


def _events(visit: Visit) -> Mapping[str, Any]:
    ask, query = visit.ask, visit.query
    projects = [one.name for one in ask.scope.projects()]
    chosen = {name: query.get(name, "") for name in ("type", "project", "actor", "subject")}
    everywhere = visit.caller.may("viewer")
    if not everywhere:  # who sees some projects only looks at one at a time
        own = sorted(visit.caller.projects("viewer"))
        projects = own
        chosen["project"] = chosen["project"] or own[0]
    before = query.get("before", "")
    found = ask.events.history(
        before=int(before) if _is_number(before) else None,
        limit=AT_ONCE,
        newest_first=True,
        project=chosen["project"] or None,
        type=chosen["type"] or None,
        actor=chosen["actor"] or None,
        subject=chosen["subject"] or None,
    )
    return {
        "events": found,
        "chosen": chosen,
        "kept": {name: value for name, value in chosen.items() if value},
        "projects": projects,
        "everywhere": everywhere,
        "types": sorted(Event.registry),
        "page_of": page_of,
        "more": len(found) == AT_ONCE,
        "before": before,
    }


def _event(visit: Visit) -> Mapping[str, Any]:
    ask, number = visit.ask, number_of(visit.path["event"], "event", digits=15)
    project = None if visit.caller.may("viewer") else _project_of(visit, number)
    chain = ask.events.causes(number=number, project=project)
    effects = ask.events.effects(number=number, project=project)
    return {
        "event": chain[0],
        "causes": chain[:0:-1],
        "effects": effects[:MOST_EFFECTS],
        "left_out": max(0, len(effects) - MOST_EFFECTS),
        "page_of": page_of,
    }


def _project_of(visit: Visit, number: int) -> str:
    """The project of an event that the reader may see.

    Raises:
        NotFound: It is not there, or of another project.
    """
    for project in sorted(visit.caller.projects("viewer")):
        found: list[EventRecord] = visit.ask.events.history(
            after=number - 1, before=number + 1, limit=1, project=project
        )
        if found:
            return project
    raise NotFound(f"There is no event {number} in your projects.")


def _chain(visit: Visit) -> Mapping[str, Any]:
    return {"chain": visit.ask.events.verify() if visit.caller.may("viewer") else None}


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


PAGES = (
    Page("/events", "Events", "events.html", _events),
    Page("/events/chain", "Events", "event_chain.html", _chain, turn="rows"),
    Page("/events/{event}", "Events", "event.html", _event),
)
