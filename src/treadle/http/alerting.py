"""Takes what Alertmanager's ``webhook_configs`` send, in version 4 of its JSON."""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.bodies import body_of
from treadle.http.rights import demand, demand_somewhere
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.event import acting
from treadle.monitoring.slo.model import ReceivedAlert
from treadle.platform.wiring import Embedded

MAX_BODY_BYTES = 4 << 20


def alerting_routes(platform: Embedded) -> list[Route]:
    """The route for Alertmanager.

    Args:
        platform: The services that answer.
    """

    async def receive(request: Request) -> Response:
        caller = await run_in_threadpool(caller_of, platform, request)
        demand_somewhere(caller, "editor")
        content = await body_of(request, MAX_BODY_BYTES)
        new = await run_in_threadpool(_receive, platform, caller, content)
        return Response(to_json({"new": new}), media_type="application/json")

    return [
        Route("/api/v1/alertmanager", receive, methods=["POST"]),
    ]


def _receive(platform: Embedded, caller: Caller, content: bytes) -> int:
    """Record the alerts of one message, each for the project that its label names."""
    body = from_json(content, object)
    alerts = body.get("alerts") if isinstance(body, dict) else None
    if not isinstance(alerts, list):
        raise Invalid("The body has no list 'alerts'. Send what Alertmanager's webhooks send.")
    declared = {project.name for project in platform.scope.projects()}
    by_project: dict[str, list[ReceivedAlert]] = {}
    for alert in map(_alert, alerts):
        named = alert.labels.get("project", "")
        by_project.setdefault(named if named in declared else "", []).append(alert)
    for project in by_project:
        demand(caller, "editor", project or "*")
    with acting(caller.name):
        return sum(
            platform.slo.receive(alerts=own, project=project or None)
            for project, own in by_project.items()
        )


def _alert(plain: Any) -> ReceivedAlert:
    names = {"fingerprint": "fingerprint", "status": "status", "labels": "labels"}
    names |= {"annotations": "annotations", "startsAt": "starts_at"}
    known = plain if isinstance(plain, dict) else {}
    given = {ours: known[theirs] for theirs, ours in names.items() if theirs in known}
    return from_json(to_json(given), ReceivedAlert)
