"""Receives files in parts: each part is a file of its own until the last one has arrived."""

import hashlib
import re
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.mlflow.files import Doors, receive, split, store
from treadle.http.mlflow.wire import Ask, failed
from treadle.http.rights import Rights, demand_somewhere
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TreadleError
from treadle.platform.wiring import Embedded


class Part(Ask):
    """A part of an upload that has arrived."""

    part_number: int


class Step(Ask):
    """Fields of the calls that begin, complete or abort an upload in parts."""

    path: str = ""
    num_parts: int = 1
    upload_id: str = ""
    parts: list[Part] = []


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
        store(self._platform, self._rights, caller, path, whole)
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
