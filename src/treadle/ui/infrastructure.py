"""Pages of what runs it all: the job queue with its workers, and who has access."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from treadle.jobs.model import State
from treadle.kernel.entity import to_text
from treadle.kernel.operation import ROLES
from treadle.ui.durations import duration_of
from treadle.ui.site import Page, Visit

SHOWN = 100
STATES: tuple[State, ...] = get_args(State)


def _infrastructure(visit: Visit) -> Mapping[str, Any]:
    if not visit.caller.may("viewer"):
        return {"allowed": False}
    jobs = visit.ask.jobs
    state = next((one for one in STATES if one == visit.query.get("state")), None)
    named = visit.query.get("job", "")
    queue = jobs.queue()
    chosen = jobs.get(job=named) if named else None
    return {
        "allowed": True,
        "queue": queue,
        "host": jobs.host(),
        "ago": lambda moment: duration_of((datetime.now(UTC) - moment).total_seconds()),
        "waited": duration_of(queue.waiting_seconds) if queue.waiting_seconds is not None else "",
        "jobs": jobs.find(state=state, limit=SHOWN),
        "state": state,
        "states": STATES,
        "chosen": chosen,
        "payload": to_text(chosen.payload) if chosen else "",
    }


def _access(visit: Visit) -> Mapping[str, Any]:
    if not visit.caller.may("admin"):
        return {"allowed": False, "reader": visit.caller}
    access = visit.ask.access
    projects = [one.name for one in visit.ask.scope.projects()]
    tokens = access.list_tokens()
    return {
        "allowed": True,
        "reader": visit.caller,
        "users": access.users(),
        "tokens": [one for one in tokens if one.revoked_at is None][::-1],
        "revoked": sum(one.revoked_at is not None for one in tokens),
        "roles": ROLES,
        "projects": projects,
    }


PAGES = (
    Page("/infrastructure", "Infrastructure", "infrastructure.html", _infrastructure),
    Page("/access", "Infrastructure", "access.html", _access),
)
