"""Turns event bodies that earlier versions wrote into today's; what is stored never changes."""

from collections.abc import Callable
from typing import Any

Body = dict[str, Any]
Upcaster = Callable[[Body, str | None], Body]
"""Gets a body and the project of its entry, and gives the body; one of today's shape as it is."""

_upcasters: dict[str, list[Upcaster]] = {}


def upcaster(*types: str) -> Callable[[Upcaster], Upcaster]:
    """Register a function that turns an older body of some event types into today's.

    Upcasters of one type run in the order of their registration, the oldest change first.

    Args:
        types: The names of the event types, as they are stored.
    """

    def register(function: Upcaster) -> Upcaster:
        for type in types:
            _upcasters.setdefault(type, []).append(function)
        return function

    return register


def upcast(type: str, body: Body, project: str | None) -> Body:
    """Turn a stored body into today's.

    Args:
        type: The stored type of the event.
        body: The stored body, which is not changed.
        project: The project of the entry; None where it belongs to none or nothing tells it.
    """
    for function in _upcasters.get(type, ()):
        body = function({**body}, project)
    return body


@upcaster("EndpointCreated", "EndpointScaled", "EndpointRemoved")
@upcaster("RolloutStarted", "RolloutAdvanced", "RolloutPaused", "RolloutResumed")
@upcaster("RolloutPromoted", "RolloutRolledBack", "RolloutAborted")
@upcaster("VersionRegistered", "VersionApproved", "VersionTagged", "VersionDeleted")
@upcaster("AliasMoved", "AliasRemoved", "StageChanged", "ModelRenamed", "ModelDeleted")
@upcaster("ExperimentDeleted", "ExperimentRestored", "HistoryAdded")
@upcaster("RunUsedData", "RunDeleted", "RunRestored")
def _name_project(body: Body, project: str | None) -> Body:
    """Up to 0.1 these named no project; it is empty where nothing tells it."""
    return {"project": project or "", **body}


@upcaster("JobQueued", "JobCancelRequested", "JobEnded")
def _name_project_of_job(body: Body, project: str | None) -> Body:
    """Up to 0.1 jobs named no project; they may belong to none."""
    return {"project": project, **body}
