"""Blobs by digest, so that a client far away stores and reads content like one at home."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.bodies import body_of
from treadle.http.rights import Rights, demand, demand_somewhere
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.event import acting
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import digest_of

MAX_BLOB_BYTES = 1 << 30


def blob_routes(platform: Embedded) -> list[BaseRoute]:
    """Return the routes of blobs.

    A caller who holds roles in some projects only reads what is named there, and says with what
    they bring which project it is for.

    Args:
        platform: The services that answer.
    """
    routes = _Blobs(platform)
    return [
        Route("/api/blobs/{digest}/exists", routes.exists),
        Route("/api/blobs/{digest}", routes.blob, methods=["GET", "PUT", "DELETE"]),
        Route("/api/blobs", routes.every),
    ]


class _Blobs:
    def __init__(self, platform: Embedded) -> None:
        self._platform, self._rights = platform, Rights(platform)

    async def blob(self, request: Request) -> Response:
        """Read, store or delete a blob."""
        caller = await run_in_threadpool(caller_of, self._platform, request)
        if request.method in ("GET", "HEAD"):
            content = await run_in_threadpool(self._read, caller, request)
            return Response(content, media_type="application/octet-stream")
        digest = request.path_params["digest"]
        if request.method == "DELETE":
            demand(caller, "admin")
            await run_in_threadpool(self._platform.blobs.delete, digest)
            return Response(b"null", media_type="application/json")
        project = await run_in_threadpool(self._destination, caller, request)
        content = await body_of(request, MAX_BLOB_BYTES)
        if await run_in_threadpool(digest_of, content) != digest:
            raise Invalid(f"The body is not blob {digest[:12]}: its content has another digest.")
        stored = await run_in_threadpool(self._store, caller, content, project)
        return Response(to_json(stored), media_type="application/json")

    async def exists(self, request: Request) -> Response:
        """Whether a blob is stored that the caller may read."""
        caller = await run_in_threadpool(caller_of, self._platform, request)
        found = await run_in_threadpool(self._has, caller, request)
        return Response(to_json(found), media_type="application/json")

    async def every(self, request: Request) -> Response:
        """The digests of all blobs."""
        demand(await run_in_threadpool(caller_of, self._platform, request), "viewer")
        found = await run_in_threadpool(lambda: list(self._platform.blobs.digests()))
        return Response(to_json(found), media_type="application/json")

    def _read(self, caller: Caller, request: Request) -> bytes:
        demand_somewhere(caller, "viewer")
        digest, tree = request.path_params["digest"], request.query_params.get("tree", "")
        if not self._rights.contents.is_readable(caller, digest, tree=tree):
            raise NotFound(f"There is no blob {digest[:12]} that '{caller.name}' may read.")
        return self._platform.blobs.get(digest)

    def _has(self, caller: Caller, request: Request) -> bool:
        demand_somewhere(caller, "viewer")
        digest, said = request.path_params["digest"], request.query_params
        project, tree = "", said.get("tree", "")
        if not caller.may("viewer") and (said.get("project") or said.get("run")):
            project = self._rights.destination(caller, said)
        readable = self._rights.contents.is_readable(caller, digest, project=project, tree=tree)
        return readable and self._platform.blobs.has(digest)

    def _destination(self, caller: Caller, request: Request) -> str | None:
        """The project that a blob is brought into; None for a caller who is an editor everywhere.

        Theirs is readable by those who may read what names it later.
        """
        if caller.may("editor"):
            return None
        return self._rights.destination(caller, request.query_params)

    def _store(self, caller: Caller, content: bytes, project: str | None) -> str:
        if project is None:
            return self._platform.blobs.put(content)
        self._rights.contents.refuse_foreign_files(caller, content)
        digest = self._platform.blobs.put(content)
        with acting(caller.name):
            self._platform.access.record_upload(digest=digest, project=project)
        return digest
