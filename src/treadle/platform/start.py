"""``embedded(home)``: all of Treadle inside this process."""

from pathlib import Path

from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded


def embedded(home: str | Path, *, database: str = "", blobs: str = "") -> Embedded:
    """Open a home (a folder, made if absent), with other backends than the embedded ones if URLs are given.

    The home remembers the URLs. Raises Conflict when its database is of a newer Treadle.
    """
    return Embedded(settings_for(Path(home), database=database, blobs=blobs))
