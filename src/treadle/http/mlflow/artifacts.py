"""Lists artifacts by run, and reads and writes them through the server.

Clients therefore need no credentials of the store.
"""

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

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.mlflow import version_files
from treadle.http.mlflow.wire import VERSIONS, Ask, Call, failed, saying
from treadle.http.rights import Rights, demand, demand_somewhere
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TooLarge, TreadleError
from treadle.kernel.event import acting
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded
from treadle.ports.naming import NOWHERE
from treadle.tracking.model import OWN_STORE, Artifact

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
Doors = Callable[[Request, Role, str], Caller]
"""Raises Forbidden unless the caller of a request has a role for the files at a path."""


class List(Ask):
    """Fields of `artifacts/list`."""

    run_id: str = ""
    path: str = ""


class Part(Ask):
    """A part of an upload that has arrived."""

    part_number: int


class Step(Ask):
    """Fields of the calls that begin, complete or abort an upload in parts."""

    path: str = ""
    num_parts: int = 1
    upload_id: str = ""
    parts: list[Part] = []


def split(path: str) -> tuple[str, str]:
    """Split a path into its root, which ends with the folder `artifacts`, and the path below.

    Args:
        path: The path, with forward slashes.

    Returns:
        The root, which is empty where there is no folder `artifacts`, and the path below it.

    Raises:
        Invalid: The path leads out of its root.
    """
    parts = [part for part in path.split("/") if part]
    if any(part in (".", "..") for part in parts) or "\0" in path or "\\" in path:
        raise Invalid("Invalid path")
    if "artifacts" not in parts:
        return "", "/".join(parts)
    depth = parts.index("artifacts") + 1
    return "/".join(parts[:depth]), "/".join(parts[depth:])


def children(files: list[Artifact], folder: str) -> list[dict[str, Any]]:
    """List what is directly below a folder, by name: files with their sizes, and folders.

    Args:
        files: All files below the root.
        folder: The folder's path below the root; empty for the root itself.
    """
    prefix = f"{folder}/" if folder else ""
    by_name: dict[str, dict[str, Any]] = {}
    for file in files:
        if not file.path.startswith(prefix):
            continue
        name, deeper, _ = file.path[len(prefix) :].partition("/")
        entry = {"path": prefix + name, "is_dir": bool(deeper)}
        by_name[name] = entry if deeper else entry | {"file_size": file.bytes}
    return [by_name[name] for name in sorted(by_name)]


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


def _store(platform: Embedded, rights: Rights, caller: Caller, path: str, file: Path) -> None:
    root, name = split(path)
    if not name:
        raise Invalid("Invalid path: it names no file.")
    _refuse_approved(platform, root)
    rights.contents.refuse_foreign_files(caller, file)
    digest = platform.blobs.put(file)
    platform.tracking.put_artifact(root=root, path=name, digest=digest, bytes=file.stat().st_size)


def _refuse_approved(platform: Embedded, root: str) -> None:
    """Raise Forbidden for files of an approved version, which do not change any more."""
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


def _read(platform: Embedded, caller: Caller, path: str) -> Path:
    """Fetch a file to a temporary place."""
    root, name = split(path)
    folder = version_files.folder_at(platform, root)
    stored = {file.path: file for file in folder.stored}
    if name not in stored and name not in folder.made:
        raise NotFound(f"Artifact '{path}' not found")
    with tempfile.NamedTemporaryFile(delete=False) as aside:
        copy = Path(aside.name)
        if name in folder.made:
            aside.write(folder.made[name])
            return copy
    copy.unlink()
    artifact = stored[name]
    with acting(caller.name):
        platform.data.reads.note(artifact.digest, way="artifact", token=caller.token)
    platform.blobs.fetch(artifact.digest, copy)
    return copy


def _served(copy: Path, path: str) -> Response:
    """An answer with a temporary copy of a file, which is removed after it."""
    from starlette.background import BackgroundTask

    return FileResponse(
        copy,
        filename=path.rpartition("/")[2],
        media_type="application/octet-stream",
        background=BackgroundTask(copy.unlink),
    )


async def receive(request: Request, limit: int) -> Path:
    """Receive a body of any size into a temporary file, which the caller removes.

    Args:
        request: The request.
        limit: The most bytes that are received.

    Raises:
        TooLarge: The body has more bytes; the rest of it is not read.
    """
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
    """Return the routes for files, under every prefix that clients use.

    Args:
        platform: The services that answer.
    """
    rights = Rights(platform)

    def doors(request: Request, role: Role, path: str) -> Caller:
        """The caller; raises Forbidden unless they have the role in the path's experiment."""
        caller = caller_of(platform, request)
        if not caller.may(role):
            model = version_files.model_of(path)
            experiment = path.strip("/").partition("/")[0]
            kind, name = ("experiment", experiment) if model is None else ("model", model)
            demand(caller, role, rights.project(kind, name) or NOWHERE)
        if role != "viewer" and version_files.model_of(path) is not None:
            raise Forbidden("The files of a version's package do not change.")
        return caller

    async def answer_file(request: Request) -> Response:
        path = request.path_params["path"]
        reads = request.method in ("GET", "HEAD")
        try:
            role: Role = "viewer" if reads else "editor"
            caller = await run_in_threadpool(doors, request, role, path)
            if reads:
                return _served(await run_in_threadpool(_read, platform, caller, path), path)
            if request.method == "DELETE":
                await run_in_threadpool(_remove, platform, path)
                return Response(b"{}", media_type="application/json")
            file = await receive(request, MAX_FILE_BYTES)
            try:
                await run_in_threadpool(_store, platform, rights, caller, path, file)
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


class Uploads:
    """Uploads in parts: each part is a file of its own until the last one has arrived.

    Args:
        platform: The services that answer.
        rights: Finds out what callers may do.
        doors: Checks the caller's rights.
    """

    def __init__(self, platform: Embedded, rights: Rights, doors: Doors) -> None:
        self._platform, self._rights, self._doors = platform, rights, doors
        self._folder = platform.settings.folder / "uploads"

    async def step(self, request: Request) -> Response:
        """Begin, complete or abort an upload.

        Args:
            request: The request, whose path names the step and the file.
        """
        from treadle.http.bodies import body_of
        from treadle.kernel.entity import from_json, from_plain

        path, step = request.path_params["path"], request.path_params["step"]
        try:
            caller = await run_in_threadpool(self._doors, request, "editor", path)
            body = from_json(await body_of(request, 8 << 20) or b"{}", dict[str, Any])
            asked = from_plain(body, Step, strict=False)
            whole = f"{path}/{Path(asked.path).name}" if asked.path else path
            root, name = split(whole)
            full = f"{root}/{name}" if root else name
            if step == "create":
                answer = self._create(request, full, asked.num_parts)
            elif step == "complete":
                await run_in_threadpool(self._upload_of, request, asked.upload_id)
                answer = await run_in_threadpool(self._complete, caller, full, asked)
            elif step == "abort":
                await run_in_threadpool(self._upload_of, request, asked.upload_id)
                answer = self._abort(asked.upload_id)
            else:
                raise NotFound(f"There is no step '{step}' of an upload.")
        except TreadleError as error:
            return failed(error)
        return Response(to_json(answer), media_type="application/json")

    async def part(self, request: Request) -> Response:
        """Receive a part of an upload.

        Args:
            request: The request, whose path names the upload and the part's number.
        """
        try:
            caller = await run_in_threadpool(caller_of, self._platform, request)
            demand_somewhere(caller, "editor")
            upload = request.path_params["upload"]
            folder = await run_in_threadpool(self._upload_of, request, upload)
            file = await receive(request, 5 << 30)
            number = request.path_params["part"]
            etag = await run_in_threadpool(_move, file, folder / f"{number:06d}")
        except TreadleError as error:
            return failed(error)
        return Response(b"", headers={"ETag": etag})

    async def presigned(self, request: Request) -> Response:
        """Return the URL to read a file from: this server's own, which checks rights.

        Args:
            request: The request, whose path names the file.
        """
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

    def _complete(self, caller: Caller, path: str, asked: Step) -> dict[str, Any]:
        folder = self._upload(asked.upload_id)
        if (folder / "path").read_text() != path:
            raise Invalid("The upload was begun for another path.")
        whole = folder / "whole"
        with whole.open("wb") as into:
            for number in sorted(part.part_number for part in asked.parts):
                file = folder / f"{number:06d}"
                if not file.exists():
                    raise Invalid(f"Part {number} was not uploaded. Send it again.")
                with file.open("rb") as source:
                    while block := source.read(1 << 20):
                        into.write(block)
        _store(self._platform, self._rights, caller, path, whole)
        return self._abort(folder.name)

    def _abort(self, upload: str) -> dict[str, Any]:
        import shutil

        shutil.rmtree(self._upload(upload))
        return {}

    def _upload(self, upload: str) -> Path:
        if not re.fullmatch(r"upload_[0-9a-z]{20}", upload) or not (self._folder / upload).is_dir():
            raise NotFound(f"There is no upload '{upload[:40]}'.")
        return self._folder / upload

    def _upload_of(self, request: Request, upload: str) -> Path:
        """The folder of an upload to where the caller may write; others' uploads are not there."""
        folder = self._upload(upload)
        try:
            self._doors(request, "editor", (folder / "path").read_text())
        except Forbidden as error:
            raise NotFound(f"There is no upload '{upload[:40]}'.") from error
        return folder


def _move(file: Path, to: Path) -> str:
    """Move a part into its upload. Returns the MD5 of its content, the protocol's ETag."""
    import shutil

    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    shutil.move(file, to)
    return digest.hexdigest()


CALLS = [Call(("GET",), "artifacts/list", List, "viewer", listing)]
