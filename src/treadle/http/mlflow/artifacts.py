"""Lists artifacts by run, and reads and writes them through the server.

Clients therefore need no credentials of the store.
"""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.http.mlflow import version_files
from treadle.http.mlflow.files import (
    children,
    doors_of,
    read,
    receive,
    remove,
    served,
    split,
    store,
)
from treadle.http.mlflow.uploads import Uploads
from treadle.http.mlflow.wire import VERSIONS, Ask, Call, failed, saying
from treadle.http.rights import Rights
from treadle.kernel.entity import to_json
from treadle.kernel.errors import NotFound, TreadleError
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded
from treadle.tracking.model import OWN_STORE

MAX_FILE_BYTES = 50 << 30
_PREFIXES = tuple(
    f"{root}/{version}/mlflow-artifacts" for root in ("/api", "/ajax-api") for version in VERSIONS
)
ROUTES = {
    f"{method} {prefix}/{path}"
    for prefix in _PREFIXES
    for method, path in (
        ("GET", "artifacts"),
        ("GET", "artifacts/{path}"),
        ("PUT", "artifacts/{path}"),
        ("DELETE", "artifacts/{path}"),
        ("POST", "mpu/create/{path}"),
        ("POST", "mpu/complete/{path}"),
        ("POST", "mpu/abort/{path}"),
        ("GET", "presigned/{path}"),
    )
}
"""The routes for files, by method and path."""


class List(Ask):
    """Fields of `artifacts/list`."""

    run_id: str = ""
    path: str = ""


def listing(platform: Embedded, ask: List) -> dict[str, Any]:
    """List what a run has below a folder of its artifacts.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        record = platform.tracking.record(ask.run_id)
    uri = record.artifacts_at
    root, _ = split(uri.removeprefix(OWN_STORE))
    _, folder = split(f"artifacts/{ask.path}")
    return {"root_uri": uri, "files": children(platform.tracking.artifacts_at(root), folder)}


def artifact_routes(platform: Embedded) -> list[Route]:
    """Return the routes for files, under every prefix that clients use.

    Args:
        platform: The services that answer.
    """
    rights = Rights(platform)

    doors = doors_of(platform, rights)

    async def answer_file(request: Request) -> Response:
        path = request.path_params["path"]
        reads = request.method in ("GET", "HEAD")
        try:
            role: Role = "viewer" if reads else "editor"
            caller = await run_in_threadpool(doors, request, role, path)
            if reads:
                return served(await run_in_threadpool(read, platform, caller, path), path)
            if request.method == "DELETE":
                await run_in_threadpool(remove, platform, path)
                return Response(b"{}", media_type="application/json")
            file = await receive(request, MAX_FILE_BYTES)
            try:
                await run_in_threadpool(store, platform, rights, caller, path, file)
            finally:
                file.unlink(missing_ok=True)
        except TreadleError as error:
            return failed(error)
        return Response(b"{}", media_type="application/json")

    async def answer_folder(request: Request) -> Response:
        try:
            path = request.query_params.get("path", "")
            await run_in_threadpool(doors, request, "viewer", path)
            root, folder = split(path)
            found = await run_in_threadpool(version_files.folder_at, platform, root)
        except TreadleError as error:
            return failed(error)
        entries = [
            entry | {"path": entry["path"].rpartition("/")[2]}
            for entry in children(found.files, folder)
        ]
        return Response(to_json({"files": entries}), media_type="application/json")

    uploads = Uploads(platform, rights, doors)
    routes: list[Route] = []
    for prefix in _PREFIXES:
        routes += [
            Route(
                f"{prefix}/artifacts/{{path:path}}", answer_file, methods=["GET", "PUT", "DELETE"]
            ),
            Route(f"{prefix}/artifacts", answer_folder),
            Route(f"{prefix}/mpu/{{step:str}}/{{path:path}}", uploads.step, methods=["POST"]),
            Route(f"{prefix}/parts/{{upload:str}}/{{part:int}}", uploads.part, methods=["PUT"]),
            Route(f"{prefix}/presigned/{{path:path}}", uploads.presigned),
        ]
    return routes


CALLS = [Call(("GET",), "artifacts/list", List, "viewer", listing)]
