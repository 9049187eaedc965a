"""MLflow's own pages, from an ``mlflow`` that is installed beside Treadle, for those who miss them.

They ship built in MLflow's wheel (``pip install --no-deps mlflow`` is enough; no code of it runs),
and ask this server as they would ask MLflow's. Their policy lets them reach nothing else: by itself
they would report to MLflow's makers what people do.
"""

import mimetypes
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from treadle.http.auth import caller_of
from treadle.http.mlflow.wire import PAGES
from treadle.kernel.errors import NotFound, Unauthenticated
from treadle.platform.wiring import Embedded
from treadle.ui.site import sent_to_sign_in

FOLDER = "TREADLE_MLFLOW_PAGES"
ASKED = (
    "ajax-api",
    "get-artifact",
    "graphql",
    "health",
    "model-versions",
    "server-info",
    "version",
)
"""How the paths begin that the pages ask for: those of the server, below their own."""
NOTHING: dict[str, Any] = {
    "3.0/mlflow/ui-telemetry": {
        "disable_ui_telemetry": True,
        "disable_ui_events": [],
        "ui_rollout_percentage": 0,
    },
    "3.0/mlflow/assistant/config": {"providers": {}, "projects": {}},
    "3.0/mlflow/assistant/providers": {"providers": []},
    "3.0/mlflow/datasets/search": {"datasets": []},
    "3.0/mlflow/traces/metrics": {"data_points": []},
    "2.0/mlflow/users/current": {"user": None},  # whose passwords and permissions MLflow keeps
    "2.0/mlflow/gateway-proxy": {"endpoints": []},
}
"""What the pages are told of parts that are refused to clients: that there is nothing."""
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-src 'self' blob:; manifest-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_FOREVER = "public, max-age=31536000, immutable"


def build() -> Path | None:
    """Return the folder of MLflow's built pages, or None where no whole ``mlflow`` is installed."""
    for place in _places():
        folder = place / "server" / "js" / "build"
        if (folder / "index.html").is_file():
            return folder.resolve()
    return None


def _places() -> Iterator[Path]:
    """Where MLflow may be: as an environment variable says, else beside Treadle."""
    if given := os.environ.get(FOLDER):
        yield Path(given, "mlflow")
        return
    found = find_spec("mlflow")  # which looks for it and does not import it
    yield from map(Path, (found.submodule_search_locations or []) if found else [])


def mlflow_page_routes(platform: Embedded) -> list[BaseRoute]:
    """Return the routes of MLflow's pages, and of what they ask the server for.

    Args:
        platform: The services that know who reads.
    """

    async def index(request: Request) -> Response:
        try:  # what the pages ask for is refused by itself; a reader is sent to sign in before
            await run_in_threadpool(caller_of, platform, request)
        except Unauthenticated as error:
            return sent_to_sign_in(platform, request, error)
        return await run_in_threadpool(_index)

    return [
        Route(PAGES, _redirect),
        Route(f"{PAGES}/", index),
        Route(f"{PAGES}/static-files/{{name:path}}", _file),
        *(_empty(path, answer) for path, answer in NOTHING.items()),
        Route(f"{PAGES}/{{rest:path}}", _FromRoot()),
    ]


def _empty(path: str, answer: Any) -> Route:
    async def endpoint(_: Request) -> Response:
        return JSONResponse(answer, headers=_HEADERS)

    return Route(f"{PAGES}/ajax-api/{path}", endpoint, methods=["GET", "POST"])


async def _redirect(_: Request) -> Response:
    return RedirectResponse(f"{PAGES}/")


def _index() -> Response:
    folder = build()
    if folder is None:
        place = f"in the folder of {FOLDER}" if os.environ.get(FOLDER) else "here"
        raise NotFound(
            f"MLflow's own pages are not {place}. 'pip install --no-deps mlflow' beside Treadle "
            "brings them; Treadle's pages begin at /."
        )
    page = (folder / "index.html").read_text(encoding="utf-8")
    return HTMLResponse(page, headers={**_HEADERS, "Cache-Control": "no-cache"})


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if (file := _built(name)) is None:
        raise NotFound(f"MLflow's pages have no file '{name[:100]}'.")
    kept = _FOREVER if name.startswith("static/") else "no-cache"
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return FileResponse(file, media_type=kind, headers={**_HEADERS, "Cache-Control": kept})


def _built(name: str) -> Path | None:
    """A file of the pages, or None where the name leads to none of theirs."""
    folder = build()
    try:
        file = (folder / name).resolve() if folder else None
        inside = folder is not None and file is not None and folder in file.parents
        return file if inside and file is not None and file.is_file() else None
    except (OSError, ValueError):  # no name that a file can have
        return None


class _FromRoot:
    """Answers a request below the pages as the server answers it at its root."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(PAGES)
        if path.split("/")[1] not in ASKED:
            raise NotFound(f"There is no page {PAGES}{path}; MLflow's pages begin at {PAGES}/.")
        raw = (scope.get("raw_path") or b"").removeprefix(PAGES.encode())
        below = {**scope, "path": path, "raw_path": raw, "root_path": ""}
        await scope["app"].router(below, receive, send)
