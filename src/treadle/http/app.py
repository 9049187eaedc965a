"""The control plane's web application."""

import errno
import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from treadle.http import openapi
from treadle.http.alerting import alerting_routes
from treadle.http.blobs import blob_routes
from treadle.http.bodies import Bodies
from treadle.http.latency import Latencies
from treadle.http.mlflow import mlflow_routes
from treadle.http.mlflow.writes import FastWrites
from treadle.http.routes import event_stream, operation_routes
from treadle.http.search_process import SearchProcess
from treadle.http.watching import watching_routes
from treadle.kernel.entity import to_json
from treadle.kernel.errors import TreadleError, Unavailable, is_passing, kind_of
from treadle.platform.logs import AccessLog
from treadle.platform.wiring import Embedded

_FULL = (errno.ENOSPC, errno.EDQUOT)
log = logging.getLogger(__name__)


def application(
    platform: Embedded,
    pages: Sequence[BaseRoute] = (),
    *,
    searches: SearchProcess | None = None,
) -> Starlette:
    """The application over a platform.

    Args:
        platform: The services that answer.
        pages: Routes for people.
        searches: What answers searches in a process of its own; None has them answered here.
    """
    latencies = Latencies()
    middleware = [
        Middleware(AccessLog, observe=latencies.observe),
        Middleware(Bodies),
        Middleware(FastWrites, platform=platform),
    ]
    made = _application(platform, pages, latencies, middleware)
    made.state.searches = searches
    return made


def answering(platform: Embedded, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """The application of a process to which another one hands requests that it has counted.

    Args:
        platform: The services that answer.
        pages: Routes for people.
    """
    return _application(platform, pages, Latencies(), [])


def _application(
    platform: Embedded,
    pages: Sequence[BaseRoute],
    latencies: Latencies,
    middleware: Sequence[Middleware],
) -> Starlette:
    routes = [
        Route("/health", _health),
        *watching_routes(platform, latencies),
        _openapi_route(platform),
        event_stream(platform),
        *blob_routes(platform),
        *operation_routes(platform),
        *alerting_routes(platform),
        *mlflow_routes(platform),
        *pages,
    ]
    handlers: Any = {
        TreadleError: _failed,
        HTTPException: _refused,
        OSError: _undone,
        Exception: _crashed,
    }
    return Starlette(routes=routes, exception_handlers=handlers, middleware=middleware)


async def _health(_: Request) -> Response:
    return PlainTextResponse("OK")


def _openapi_route(platform: Embedded) -> Route:
    content = cache(lambda: to_json(openapi.document(platform.stages)))

    async def document(_: Request) -> Response:
        return Response(await run_in_threadpool(content), media_type="application/json")

    return Route("/api/openapi.json", document)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, TreadleError)
    headers = {"Retry-After": "1"} if error.retry else {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="treadle"'
    return _error(error.status, kind_of(error), error.message, error.retry, headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"There is no {request.method} {request.url.path} here. All there is: /api/openapi.json"
    kind = "NotFound" if error.status_code == 404 else "Invalid"
    return _error(error.status_code, kind, what, False, dict(error.headers or {}))


async def _undone(request: Request, error: Exception) -> Response:
    """What the system has no room, handles or memory for is told as such; the rest are defects."""
    assert isinstance(error, OSError)
    if not is_passing(error):
        raise error
    log.error("%s %s: %s", request.method, request.url.path, error)
    full = "The disk of the server is full. Nothing was stored; free some space."
    other = f"The server cannot do this now: {error.strerror}. Try again later."
    return await _failed(request, Unavailable(full if error.errno in _FULL else other))


async def _crashed(request: Request, error: Exception) -> Response:
    """A defect of ours: the access log has the traceback, the caller a sentence."""
    what = (
        f"The server failed on {request.method} {request.url.path} ({type(error).__name__}). "
        "Its log says more."
    )
    return _error(500, "TreadleError", what, False, {})


def _error(status: int, kind: str, message: str, retry: bool, headers: dict[str, str]) -> Response:
    content = to_json({"error": kind, "message": message, "retry": retry})
    return Response(content, status_code=status, media_type="application/json", headers=headers)
