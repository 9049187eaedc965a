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
        if request.method in ("GET", "HEAD"):
            content = await run_in_threadpool(self._read, request)
            return Response(content, media_type="application/octet-stream")
        if request.method == "DELETE":
            await run_in_threadpool(self._delete, request)
            return Response(b"null", media_type="application/json")
        caller, project = await run_in_threadpool(self._bringer, request)
        content = await body_of(request, MAX_BLOB_BYTES)
        digest = request.path_params["digest"]
        stored = await run_in_threadpool(self._store, caller, project, digest, content)
        return Response(to_json(stored), media_type="application/json")

    async def exists(self, request: Request) -> Response:
        """Whether a blob is stored that the caller may read."""
        found = await run_in_threadpool(self._has, request)
        return Response(to_json(found), media_type="application/json")

    async def every(self, request: Request) -> Response:
        """The digests of all blobs."""
        demand(await run_in_threadpool(caller_of, self._platform, request), "viewer")
        found = await run_in_threadpool(lambda: list(self._platform.blobs.digests()))
        return Response(to_json(found), media_type="application/json")

    def _read(self, request: Request) -> bytes:
        caller = caller_of(self._platform, request)
        demand_somewhere(caller, "viewer")
        digest, tree = request.path_params["digest"], request.query_params.get("tree", "")
        if not self._rights.contents.is_readable(caller, digest, tree=tree):
            raise NotFound(f"There is no blob {digest[:12]} that '{caller.name}' may read.")
        with acting(caller.name):
            self._platform.data.reads.note(digest, way="blob", tree=tree, token=caller.token)
        return self._platform.blobs.get(digest)

    def _has(self, request: Request) -> bool:
        caller = caller_of(self._platform, request)
        demand_somewhere(caller, "viewer")
        digest, said = request.path_params["digest"], request.query_params
        project, tree = "", said.get("tree", "")
        if not caller.may("viewer") and (said.get("project") or said.get("run")):
            project = self._rights.destination(caller, said)
        readable = self._rights.contents.is_readable(caller, digest, project=project, tree=tree)
        return readable and self._platform.blobs.has(digest)

    def _delete(self, request: Request) -> None:
        demand(caller_of(self._platform, request), "admin")
        self._platform.blobs.delete(request.path_params["digest"])

    def _bringer(self, request: Request) -> tuple[Caller, str | None]:
        """Who brings a blob, and into which project.

        There is none where they are an editor everywhere: what they bring is readable by who may
        read what names it later.
        """
        caller = caller_of(self._platform, request)
        if caller.may("editor"):
            return caller, None
        return caller, self._rights.destination(caller, request.query_params)

    def _store(self, caller: Caller, project: str | None, digest: str, content: bytes) -> str:
        if digest_of(content) != digest:
            raise Invalid(f"The body is not blob {digest[:12]}: its content has another digest.")
        if project is None:
            return self._platform.blobs.put(content)
        self._rights.contents.refuse_foreign_files(caller, content)
        self._platform.blobs.put(content)
        with acting(caller.name):
            self._platform.access.record_upload(digest=digest, project=project)
        return digest
