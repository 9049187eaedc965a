"""Finds the blob stores in which another copy of a content may be."""

from pathlib import Path

from treadle.kernel.errors import NotFound
from treadle.platform.addresses import backend, refuse_password
from treadle.platform.backup.store import CONTENTS, below, with_scheme
from treadle.ports.blobs import Blobs


def stores_at(url: str) -> list[Blobs]:
    """The blob stores at a URL: itself, that of a home, and that of backups.

    Args:
        url: A URL, or a folder.

    Raises:
        NotFound: There is no such folder.
    """
    refuse_password(url)
    url = with_scheme(url)
    places = [url, below(url, "blobs"), below(url, CONTENTS)]
    if url.startswith("file://"):
        there = [place for place in places if Path(place.removeprefix("file://")).is_dir()]
        if not there:
            raise NotFound(f"There is nothing at '{url}' to repair from.")
        places = there
    return [backend("blobs", place) for place in places]
