"""Keeps, reads and lists the files of runs, logged models and versions, by their paths."""

import mimetypes
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from treadle.access.model import Caller
from treadle.http.auth import caller_of
from treadle.http.mlflow import version_files
from treadle.http.rights import Rights, demand
from treadle.kernel.errors import Forbidden, Invalid, NotFound, TooLarge
from treadle.kernel.event import acting
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded
from treadle.ports.naming import NOWHERE
from treadle.tracking.model import Artifact

Doors = Callable[[Request, Role, str], Caller]
"""Raises Forbidden unless the caller of a request has a role for the files at a path."""
_PAGES = ("text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml")
"""Types that browsers would run scripts of."""


def doors_of(platform: Embedded, rights: Rights) -> Doors:
    """Return what checks callers' rights for files.

    Args:
        platform: The services that answer.
        rights: Finds out what callers may do.
    """

    def doors(request: Request, role: Role, path: str) -> Caller:
        caller = caller_of(platform, request)
        if not caller.may(role):
            model = version_files.model_of(path)
            experiment = path.strip("/").partition("/")[0]
            kind, name = ("experiment", experiment) if model is None else ("model", model)
            demand(caller, role, rights.project(kind, name) or NOWHERE)
        if role != "viewer" and version_files.model_of(path) is not None:
            raise Forbidden("The files of a version's package do not change.")
        return caller

    return doors


def split(path: str) -> tuple[str, str]:
    """Split a path into its root, which ends with the folder `artifacts`, and the path below.

    Args:
        path: The path, with forward slashes.

    Returns:
        The root, which is empty where there is no folder `artifacts`, and the path below it.

    Raises:
        Invalid: The path leads out of its root.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path or "\\" in path:
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


def store(platform: Embedded, rights: Rights, caller: Caller, path: str, file: Path) -> None:
    """Keep a file that has arrived.

    Args:
        platform: The services that answer.
        rights: Finds out what callers may do.
        caller: Who sent the file.
        path: Where it belongs.
        file: The file.

    Raises:
        Invalid: The path names no file, or leads out of its root.
        Forbidden: The files there do not change any more.
    """
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


def remove(platform: Embedded, path: str) -> None:
    """Remove a file, or all below a folder.

    Args:
        platform: The services that answer.
        path: The file or the folder.

    Raises:
        Forbidden: The files there do not change any more.
    """
    root, name = split(path)
    _refuse_approved(platform, root)
    platform.tracking.delete_artifacts(root=root, path=name)


def read(platform: Embedded, caller: Caller, path: str) -> Path:
    """Fetch a file to a temporary place.

    Args:
        platform: The services that answer.
        caller: Who reads it.
        path: The file.

    Raises:
        NotFound: There is no such file.
    """
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


def served(copy: Path, path: str) -> Response:
    """Return an answer with a temporary copy of a file, which is removed after it.

    A browser shows none of them as a page: they are attachments, and text stays text.

    Args:
        copy: The copy.
        path: The file's path, whose ending says what it holds.
    """
    from starlette.background import BackgroundTask

    name = path.rpartition("/")[2]
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return FileResponse(
        copy,
        filename=name,
        media_type="text/plain" if kind in _PAGES else kind,
        headers={"X-Content-Type-Options": "nosniff"},
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
                    raise TooLarge(f"A file has at most {limit >> 20:,} MiB.")
                file.write(part)
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)
