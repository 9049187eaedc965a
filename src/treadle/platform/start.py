"""``embedded(home)``: all of Treadle inside this process."""

from pathlib import Path

from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded


def embedded(home: str | Path, *, database: str = "", blobs: str = "") -> Embedded:
    """Open a home with all of Treadle in this process. The home remembers the URLs of its backends.

    Args:
        home: The home's folder; it is made if absent.
        database: The URL of the database, as in ``postgresql://…``; empty for the home's own.
        blobs: The URL of the blob store, as in ``s3://…``; empty for the home's own.

    Returns:
        The platform; close it, or use it in a ``with`` block.

    Raises:
        Conflict: The database was written by a newer Treadle.
        Invalid: The home is a file, its settings are damaged, or no backend handles a URL.
    """
    return Embedded(settings_for(Path(home), database=database, blobs=blobs))
