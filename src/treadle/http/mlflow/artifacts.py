"""Artifacts: listed by run, and read and written through the server, so that clients need no credentials of the store."""

import hashlib
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from treadle.http.auth import caller_of
from treadle.http.mlflow.wire import VERSIONS, Ask, Call, failed, saying
from treadle.http.rights import Rights, demand, demand_somewhere
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TooLarge, TreadleError
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded
from treadle.ports.naming import NOWHERE
from treadle.tracking.model import Artifact

MAX_FILE_BYTES = 50 << 30
Doors = Callable[[Request, Role, str], None]
SCHEME = "mlflow-artifacts:/"


class List(Ask):
    run_id: str = ""
    path: str = ""


def split(path: str) -> tuple[str, str]:
    """The root (all up to the folder ``artifacts``) and the path below it. Raises Invalid for a path that climbs."""
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in parts) or "\0" in path or "\\" in path:
        raise Invalid("Invalid path")
    if "artifacts" not in parts:
        return "", "/".join(parts)
    place = parts.index("artifacts") + 1
    return "/".join(parts[:place]), "/".join(parts[place:])


def children(files: list[Artifact], folder: str) -> list[dict[str, Any]]:
    """What is directly below a folder, by name: files with their sizes, and folders."""
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.path.startswith(prefix):
            continue
        name, deeper, _ = file.path[len(prefix) :].partition("/")
        entry = {"path": prefix + name, "is_dir": bool(deeper)}
        found[name] = entry if deeper else entry | {"file_size": file.bytes}
    return [found[name] for name in sorted(found)]


def listing(platform: Embedded, ask: List) -> dict[str, Any]:
    with saying(NotFound, f"Run with id={ask.run_id} not found"):
        record = platform.tracking.record(ask.run_id)
    uri = record.artifacts_at
    root, _ = split(uri.removeprefix(SCHEME))
    _, folder = split(f"artifacts/{ask.path}")
    return {"root_uri": uri, "files": children(platform.tracking.artifacts_at(root), folder)}


def _store(platform: Embedded, path: str, file: Path) -> None:
    root, name = split(path)
    if not name:
        raise Invalid("Invalid path: it names no file.")
    _refuse_approved(platform, root)
    digest = platform.blobs.put(file)
    platform.tracking.put_artifact(root=root, path=name, digest=digest, bytes=file.stat().st_size)


def _refuse_approved(platform: Embedded, root: str) -> None:
    """What somebody signed for stays as it was."""
    parts = root.split("/")
    if len(parts) < 3:
        return
    of_model = len(parts) == 4 and parts[1] == "models"
    version = platform.registry.approved_from(
        run="" if of_model else parts[1], logged_model=parts[2] if of_model else ""
    )
    if version is not None:
        raise Forbidden(f"Version '{version}' is approved; its files do not change any more.")


def _remove(platform: Embedded, path: str) -> None:
    root, name = split(path)
    _refuse_approved(platform, root)
    platform.tracking.delete_artifacts(root=root, path=name)


def _read(platform: Embedded, path: str) -> tuple[Path, int]:
    root, name = split(path)
    file = next((one for one in platform.tracking.artifacts_at(root) if one.path == name), None)
    if file is None:
        raise NotFound(f"Artifact '{path}' not found")
    with tempfile.NamedTemporaryFile(delete=False) as aside:
        to = Path(aside.name)
    to.unlink()
    platform.blobs.fetch(file.digest, to)
    return to, file.bytes


def _served(found: tuple[Path, int], path: str) -> Response:
    from starlette.background import BackgroundTask

    gone = BackgroundTask(found[0].unlink)
    return FileResponse(
        found[0],
        filename=path.rpartition("/")[2],
        media_type="application/octet-stream",
        background=gone,
    )


async def receive(request: Request, limit: int) -> Path:
    """A body of any size on disk. Raises TooLarge, without reading on, beyond ``limit`` bytes."""
    with tempfile.NamedTemporaryFile(delete=False, prefix="treadle-upload-") as file:
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise TooLarge(f"A file has at most {limit >> 30} GiB.")
                file.write(part)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def artifact_routes(platform: Embedded) -> list[Route]:
    """The proxy for files, under every prefix that clients use."""

    rights = Rights(platform)

    def doors(request: Request, role: Role, path: str) -> None:
        """Raise Forbidden unless the caller may do this with the files of the experiment that a path begins with."""
        caller = caller_of(platform, request)
        if not caller.may(role):
            experiment = path.strip("/").partition("/")[0]
            demand(caller, role, rights.project("experiment", experiment) or NOWHERE)

    async def one(request: Request) -> Response:
        path = request.path_params["path"]
        try:
            await run_in_threadpool(
                doors, request, "viewer" if request.method in ("GET", "HEAD") else "editor", path
            )
            if request.method in ("GET", "HEAD"):
                return _served(await run_in_threadpool(_read, platform, path), path)
            if request.method == "DELETE":
                await run_in_threadpool(_remove, platform, path)
                return Response(b"{}", media_type="application/json")
            file = await receive(request, MAX_FILE_BYTES)
            try:
                await run_in_threadpool(_store, platform, path, file)
            finally:
                file.unlink(missing_ok=True)
        except TreadleError as error:
            return failed(error)
        return Response(b"{}", media_type="application/json")

    async def every(request: Request) -> Response:
        try:
            path = request.query_params.get("path", "")
            await run_in_threadpool(doors, request, "viewer", path)
            root, folder = split(path)
            files = await run_in_threadpool(platform.tracking.artifacts_at, root)
        except TreadleError as error:
            return failed(error)
        found = [
            entry | {"path": entry["path"].rpartition("/")[2]} for entry in children(files, folder)
        ]
        return Response(to_json({"files": found}), media_type="application/json")

    uploads = Uploads(platform, doors)
    found: list[Route] = []
    for prefix in (
        f"{root}/{version}/mlflow-artifacts"
        for root in ("/api", "/ajax-api")
        for version in VERSIONS
    ):
        found += [
            Route(f"{prefix}/artifacts/{{path:path}}", one, methods=["GET", "PUT", "DELETE"]),
            Route(f"{prefix}/artifacts", every),
            Route(f"{prefix}/mpu/{{step:str}}/{{path:path}}", uploads.step, methods=["POST"]),
            Route(f"{prefix}/parts/{{upload:str}}/{{part:int}}", uploads.part, methods=["PUT"]),
            Route(f"{prefix}/presigned/{{path:path}}", uploads.presigned),
        ]
    return found


class Uploads:
    """Uploads in parts: each part is a file of its own until the last one is there."""

    def __init__(self, platform: Embedded, doors: Doors) -> None:
        self._platform, self._doors = platform, doors
        self._folder = platform.settings.folder / "uploads"

    async def step(self, request: Request) -> Response:
        from treadle.http.routes import body_of
        from treadle.kernel.entity import from_json

        path, step = request.path_params["path"], request.path_params["step"]
        try:
            await run_in_threadpool(self._doors, request, "editor", path)
            asked = from_json(await body_of(request, 8 << 20) or b"{}", dict[str, Any])
            whole = f"{path}/{Path(str(asked.get('path', ''))).name}" if asked.get("path") else path
            root, name = split(whole)
            full = f"{root}/{name}" if root else name
            if step == "create":
                found = self._create(request, full, int(asked.get("num_parts", 1)))
            elif step == "complete":
                found = await run_in_threadpool(self._complete, full, asked)
            elif step == "abort":
                found = self._abort(str(asked.get("upload_id", "")))
            else:
                raise NotFound(f"There is no step '{step}' of an upload.")
        except TreadleError as error:
            return failed(error)
        return Response(to_json(found), media_type="application/json")

    async def part(self, request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, self._platform, request)
            demand_somewhere(caller, "editor")
            folder = self._upload(request.path_params["upload"])
            await run_in_threadpool(self._doors, request, "editor", (folder / "path").read_text())
            file = await receive(request, 5 << 30)
            number = request.path_params["part"]
            etag = await run_in_threadpool(_move, file, folder / f"{number:06d}")
        except TreadleError as error:
            return failed(error)
        return Response(b"", headers={"ETag": etag})

    async def presigned(self, request: Request) -> Response:
        """The address to read a file from: ours, since the store's own are not for everybody."""
        path = request.path_params["path"]
        try:
            await run_in_threadpool(self._doors, request, "viewer", path)
            split(path)
        except TreadleError as error:
            return failed(error)
        url = str(request.base_url) + f"api/2.0/mlflow-artifacts/artifacts/{path}"
        return Response(to_json({"url": url, "headers": {}}), media_type="application/json")

    def _create(self, request: Request, path: str, parts: int) -> dict[str, Any]:
        from treadle.kernel.ids import new_id

        if not 1 <= parts <= 10_000:
            raise Invalid(f"An upload has 1 to 10,000 parts, not {parts}.")
        upload = new_id("upload")
        (self._folder / upload).mkdir(parents=True)
        (self._folder / upload / "path").write_text(path)
        base = str(request.base_url) + f"api/2.0/mlflow-artifacts/parts/{upload}"
        urls = [
            {"url": f"{base}/{number}", "part_number": number, "headers": {}}
            for number in range(1, parts + 1)
        ]
        return {"upload_id": upload, "credentials": urls}

    def _complete(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        folder = self._upload(str(asked.get("upload_id", "")))
        if (folder / "path").read_text() != path:
            raise Invalid("The upload was begun for another path.")
        whole = folder / "whole"
        with whole.open("wb") as into:
            for part in sorted(asked.get("parts", []), key=lambda one: int(one["part_number"])):
                file = folder / f"{int(part['part_number']):06d}"
                if not file.exists():
                    raise Invalid(f"Part {part['part_number']} was not uploaded. Send it again.")
                with file.open("rb") as source:
                    while block := source.read(1 << 20):
                        into.write(block)
        _store(self._platform, path, whole)
        return self._abort(folder.name)

    def _abort(self, upload: str) -> dict[str, Any]:
        import shutil

        shutil.rmtree(self._upload(upload))
        return {}

    def _upload(self, upload: str) -> Path:
        if not re.fullmatch(r"upload_[0-9a-z]{20}", upload) or not (self._folder / upload).is_dir():
            raise NotFound(f"There is no upload '{upload[:40]}'.")
        return self._folder / upload


def _move(file: Path, to: Path) -> str:
    """Put a part in its place. Returns the MD5 of its content, which the protocol calls its etag."""
    import shutil

    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    shutil.move(file, to)
    return digest.hexdigest()


CALLS = [Call(("GET",), "artifacts/list", List, "viewer", listing)]
