"""Says which contents of the blob store days of inference logs name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import NAMED_CONTENT
from treadle.monitoring.tables import log_files
from treadle.ports.content import NamedContent, named_in
from treadle.ports.database import Database


class MonitoringContent:
    """Lists what days of inference logs name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        days = select(log_files.c.digest, log_files.c.day, log_files.c.endpoint)
        yield from named_in(self._database, days, "day {} of the inference log of endpoint '{}'")
