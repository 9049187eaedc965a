"""Answers what clients ask about the server itself."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from treadle.http.mlflow.wire import PREFIXES

SPEAKS = "3.17.0"
"""The MLflow release whose protocol this is; clients use fewer features with servers below 3.4."""

ROUTES = {
    "GET /health",
    "GET /version",
    "POST /v1/traces",
    *(f"GET {prefix}/server-info" for prefix in PREFIXES),
}
"""Routes beside those of calls and of files, by method and path."""


def server_routes() -> list[Route]:
    """Return the routes that describe the server."""
    return [
        Route("/version", _version),
        *(Route(f"{prefix}/server-info", _info) for prefix in PREFIXES),
    ]


async def _version(_: Request) -> Response:
    return PlainTextResponse(SPEAKS)


async def _info(_: Request) -> Response:
    facts = {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "multipart_uploads_enabled": True,
        "multipart_downloads_enabled": False,
    }
    return JSONResponse(facts)
