"""Answers the routes by which people script downloads and MLflow's pages show files."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.mlflow.files import Doors, doors_of, read, receive, served, store
from treadle.http.mlflow.model_versions import download_uri
from treadle.http.mlflow.naming import named
from treadle.http.mlflow.registry import Version
from treadle.http.mlflow.states import artifact_root
from treadle.http.mlflow.traces import trace_of
from treadle.http.mlflow.wire import VERSIONS, failed
from treadle.http.rights import Rights
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TreadleError
from treadle.platform.wiring import Embedded
from treadle.tracking.model import OWN_STORE

MAX_UPLOAD_BYTES = 10 << 20
_SPANS = "traces.json"
_ATTACHED = {
    "Content-Type": "application/json",
    "Content-Disposition": f"attachment; filename={_SPANS}",
    "X-Content-Type-Options": "nosniff",
}
_AJAX = "/ajax-api/2.0/mlflow"
_TRACE_FILES = tuple(f"/ajax-api/{version}/mlflow/get-trace-artifact" for version in VERSIONS)
ROUTES = {
    "GET /get-artifact",
    "GET /model-versions/get-artifact",
    f"GET {_AJAX}/logged-models/{{model_id}}/artifacts/files",
    f"POST {_AJAX}/upload-artifact",
    *(f"GET {path}" for path in _TRACE_FILES),
}
"""The routes of this file, by method and path."""
_OF_RUN = re.compile(r"runs:/+([^/]+)/(.+)")
Root = Callable[[Embedded, Mapping[str, str]], str]
"""Finds the URI of the files of what a request names."""


def of_run(platform: Embedded, given: Mapping[str, str]) -> str:
    """Return where the run that a request names has its files.

    Args:
        platform: The services that answer.
        given: The request's fields.

    Raises:
        NotFound: There is no such run.
    """
    return artifact_root(platform, run=given.get("run_id") or given.get("run_uuid", ""))


def of_version(platform: Embedded, given: Mapping[str, str]) -> str:
    """Return where the model's version that a request names has its files.

    Args:
        platform: The services that answer.
        given: The request's fields.

    Raises:
        NotFound: There is no such version.
        Invalid: The version is no number.
    """
    version = Version(name=given.get("name", ""), version=given.get("version", ""))
    return str(download_uri(platform, version)["artifact_uri"])


def of_model(platform: Embedded, given: Mapping[str, str]) -> str:
    """Return where the logged model that a request names has its files.

    Args:
        platform: The services that answer.
        given: The request's fields.

    Raises:
        NotFound: There is no such model.
    """
    return artifact_root(platform, model=given.get("model_id", ""))


def download_routes(platform: Embedded) -> list[Route]:
    """Return the routes.

    Args:
        platform: The services that answer.
    """
    downloads = Downloads(platform)
    logged = f"{_AJAX}/logged-models/{{model_id}}/artifacts/files"
    return [
        Route("/get-artifact", downloads.file(of_run, "path", "runs")),
        Route("/model-versions/get-artifact", downloads.file(of_version, "path", "model-versions")),
        Route(logged, downloads.file(of_model, "artifact_file_path", "logged-models")),
        Route(f"{_AJAX}/upload-artifact", downloads.upload, methods=["POST"]),
        *(Route(path, downloads.trace) for path in _TRACE_FILES),
    ]


class Downloads:
    """Sends and takes single files, to whoever may see what they belong to.

    Args:
        platform: The services that answer.
    """

    def __init__(self, platform: Embedded) -> None:
        self._platform, self._rights = platform, Rights(platform)
        self._doors: Doors = doors_of(platform, self._rights)

    def file(self, root: Root, field: str, resource: str) -> Callable[[Request], object]:
        """Return what answers a request for one file.

        Args:
            root: Finds the folder of what the request names.
            field: The field with the file's path below that folder.
            resource: What the request's names are about, such as `runs`.
        """

        async def endpoint(request: Request) -> Response:
            try:
                copy, path = await run_in_threadpool(self._copy, request, root, field, resource)
            except TreadleError as error:
                return failed(error)
            return served(copy, path)

        return endpoint

    async def upload(self, request: Request) -> Response:
        """Keep the body as a file of a run.

        Args:
            request: The request; its query has the run and the file's path.
        """
        try:
            if not {"run_uuid", "run_id"} & request.query_params.keys():
                raise Invalid("Request must specify run_uuid.")
            path = await run_in_threadpool(self._place, request, of_run, "path", "runs")
            caller = await run_in_threadpool(self._doors, request, "editor", path)
            file = await receive(request, MAX_UPLOAD_BYTES)
            try:
                await run_in_threadpool(store, self._platform, self._rights, caller, path, file)
            finally:
                file.unlink(missing_ok=True)
        except TreadleError as error:
            return failed(error)
        return Response(b"{}", media_type="application/json")

    async def trace(self, request: Request) -> Response:
        """Answer with a trace's spans, as the file that clients of 2.x write or as they came.

        Args:
            request: The request; its query has the trace's id.
        """
        try:
            return await run_in_threadpool(self._spans, request)
        except TreadleError as error:
            return failed(error)

    def _copy(self, request: Request, root: Root, field: str, resource: str) -> tuple[Path, str]:
        path = self._place(request, root, field, resource)
        caller = self._doors(request, "viewer", path)
        return read(self._platform, caller, path), path

    def _place(self, request: Request, root: Root, field: str, resource: str) -> str:
        """Where in the server's own store the file is that a request names."""
        given = {**request.query_params, **request.path_params}
        self._admitted(request, given, resource)
        if not given.get(field):
            raise Invalid(f"Missing value for required parameter '{field}'.")
        uri = root(self._platform, given)
        if found := _OF_RUN.fullmatch(uri):  # an editor's word: they may see that run, or not
            self._admitted(request, {"run_id": found[1]}, "runs")
            uri = f"{artifact_root(self._platform, run=found[1])}/{found[2]}"
        if not uri.startswith(OWN_STORE):
            raise Invalid(
                f"The files are at {uri}, which this server does not read. Read it there."
            )
        return f"{uri.removeprefix(OWN_STORE)}/{given[field]}"

    def _admitted(self, request: Request, given: Mapping[str, str], resource: str) -> Caller:
        caller = caller_of(self._platform, request)
        self._rights.demand(caller, "viewer", named(given, resource), dict(given))
        return caller

    def _spans(self, request: Request) -> Response:
        given = dict(request.query_params)
        id = given.get("request_id") or given.get("trace_id", "")
        if not id:
            raise Invalid("Missing value for required parameter 'request_id'.")
        self._admitted(request, {"trace_id": id}, "traces")
        info = trace_of(self._platform, id)
        root = str(info.get("tags", {}).get("mlflow.artifactLocation", ""))
        spans = self._platform.traces.spans(id)
        if spans or not root.startswith(OWN_STORE):
            return Response(json.dumps({"spans": spans}), headers=_ATTACHED)
        path = f"{root.removeprefix(OWN_STORE)}/{_SPANS}"
        try:  # the tag is its client's word: what it names is checked like any other file
            caller = self._doors(request, "viewer", path)
            return served(read(self._platform, caller, path), path)
        except (Forbidden, NotFound) as error:
            raise NotFound(f"Trace data not found for trace with ID '{id}'.") from error
