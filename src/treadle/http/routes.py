"""One route per operation.

``GET /api/v1/STAGE/NAME?argument=…`` for queries, ``POST`` with a JSON object for commands.
"""

import asyncio
import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.events.model import EventRecord
from treadle.http.asking import Asking
from treadle.http.auth import CallerCache, caller_of
from treadle.http.bodies import body_of
from treadle.http.rights import demand
from treadle.http.searching import Apart, TurnRoute, running, turn_of
from treadle.kernel.entity import from_json, from_packed, to_json, to_packed
from treadle.kernel.errors import Forbidden, Invalid, Unauthenticated
from treadle.kernel.escaping import visible
from treadle.kernel.operation import Operation, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.wiring import Embedded

MAX_BODY_BYTES = 64 << 20
PACKED = "application/msgpack"


def operation_routes(platform: Embedded) -> list[Route]:
    """The routes of every stage's operations.

    Args:
        platform: The services that answer.
    """
    asking, apart = Asking(platform), Apart(CallerCache(platform).caller, MAX_BODY_BYTES)
    return [
        _route(platform, asking, apart, stage, operation)
        for stage, kind in kinds_of(platform.stages).items()
        for operation in operations(kind).values()
    ]


def _route(
    platform: Embedded, asking: Asking, apart: Apart, stage: str, operation: Operation
) -> Route:
    turn = turn_of(operation)
    run = running(turn)

    async def endpoint(request: Request) -> Response:
        caller = await run_in_threadpool(caller_of, platform, request)
        if operation.brings_code:  # how code is confined here is found out by trying
            await run_in_threadpool(asking.admit, caller, operation)
        else:
            asking.admit(caller, operation)
        arguments = await _arguments(request, operation)
        whole = await run_in_threadpool(asking.permit, caller, operation, arguments)
        result = await run(asking.answer, caller, stage, operation, arguments)
        if not whole:
            result = asking.cut(caller, operation, result)
        if request.headers.get("accept") == PACKED:
            return Response(to_packed(result), media_type=PACKED)
        return Response(to_json(result), media_type="application/json")

    path = f"/api/v1/{stage}/{operation.name}"
    where = apart if operation.kind == "query" else None
    return TurnRoute(path, endpoint, turn=turn, apart=where, methods=[operation.method])


async def _arguments(request: Request, operation: Operation) -> dict[str, Any]:
    if operation.kind == "query":
        asked = {name: _read(operation, name, text) for name, text in request.query_params.items()}
        return operation.bind(asked, strict=False)
    content = await body_of(request, MAX_BODY_BYTES)
    packed = request.headers.get("content-type") == PACKED
    given = from_packed(content, object) if packed else from_json(content or b"{}", object)
    if not isinstance(given, dict):
        raise Invalid(f"The body must be a JSON object of the arguments of '{operation.name}'.")
    return operation.bind(given)


def _read(operation: Operation, name: str, text: str) -> Any:
    """A query argument: JSON for a list or an object, else the text itself."""
    if text[:1] not in ("[", "{") or operation.takes_text(name):
        return text
    try:
        return from_json(text, object)
    except Invalid as error:
        raise Invalid(f"Field '{name}': {error.message}") from error


def event_stream(platform: Embedded) -> Route:
    """``GET /api/v1/events/stream?after=N``: events as server-sent events, without an end.

    Args:
        platform: The services that answer.
    """

    async def endpoint(request: Request) -> Response:
        from starlette.responses import StreamingResponse

        await run_in_threadpool(_demand_viewer, platform, request)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        if not re.fullmatch(r"[0-9]{1,18}", after):
            raise Invalid(f"Field 'after': '{after}' is not a number.")
        return StreamingResponse(
            _events(platform, int(after), request), media_type="text/event-stream"
        )

    return Route("/api/v1/events/stream", endpoint)


def _demand_viewer(platform: Embedded, request: Request) -> None:
    demand(caller_of(platform, request), "viewer")


def server_sent(record: EventRecord) -> str:
    """Write an event as browsers' EventSource reads it.

    Args:
        record: The event.
    """
    kind = visible(record.type).replace("\n", "\\n")
    return f"id: {record.number}\nevent: {kind}\ndata: {to_json(record).decode()}\n\n"


async def _events(platform: Embedded, after: int, request: Request) -> Any:
    while not await request.is_disconnected():
        try:  # a stream ends with the right to read it
            await run_in_threadpool(_demand_viewer, platform, request)
        except (Unauthenticated, Forbidden):
            return
        found = await run_in_threadpool(platform.events.history, after=after, limit=500)
        for record in found:
            after = record.number
            yield server_sent(record)
        if not found:
            await asyncio.sleep(0.25)
