"""The site's styles and scripts, ours and other people's, served from the package."""

import gzip
import hashlib
import mimetypes
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.kernel.errors import NotFound

_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css"}
_FOREVER = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file that pages need.

    Attributes:
        content: The file.
        packed: The same, by gzip.
        media_type: What it is.
    """

    content: bytes
    packed: bytes
    media_type: str


@cache
def asset(name: str) -> Asset:
    """Read a file of ``static/``.

    Args:
        name: Its path there.

    Raises:
        NotFound: There is none.
    """
    if name not in _names():
        raise NotFound(f"The pages have no file '{name}'.")
    content = files("treadle.ui").joinpath("static", *name.split("/")).read_bytes()
    suffix = name[name.rindex(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(content, gzip.compress(content, mtime=0), media_type)


@cache
def _names() -> frozenset[str]:
    found, folders = [], [("", files("treadle.ui").joinpath("static"))]
    while folders:
        prefix, folder = folders.pop()
        for item in folder.iterdir():
            if item.is_dir():
                folders.append((f"{prefix}{item.name}/", item))
            elif "." in item.name:
                found.append(prefix + item.name)
    return frozenset(found)


@cache
def edition() -> str:
    """Changes with any of the files: scripts import each other by paths beside their own."""
    together = hashlib.sha256()
    for name in sorted(_names()):
        together.update(f"{name}:".encode())
        together.update(asset(name).content)
    return together.hexdigest()[:12]


def address_of(name: str) -> str:
    """The address of a file of ``static/``; another one after each change, so browsers may keep it.

    Args:
        name: Its path there.

    Raises:
        NotFound: There is no such file.
    """
    if name not in _names():
        raise NotFound(f"The pages have no file '{name}'.")
    return f"/static/{edition()}/{name}"


def asset_route() -> Route:
    """Return the route of the files, which anybody may read."""

    async def endpoint(request: Request) -> Response:
        found = asset(request.path_params["name"])
        current = request.path_params["edition"] == edition()
        headers = {
            "Cache-Control": _FOREVER if current else "no-cache",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        content = found.content
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["Content-Encoding"] = found.packed, "gzip"
        return Response(content, media_type=found.media_type, headers=headers)

    return Route("/static/{edition}/{name:path}", endpoint)
