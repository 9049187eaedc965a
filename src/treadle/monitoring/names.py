"""Finds the projects whose inference logs are a content."""

from sqlalchemy import select

from treadle.delivery.names import DeliveryNames
from treadle.kernel.stage import PROJECTS_OF_CONTENT
from treadle.monitoring.tables import log_files
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST

_LOGGING = select(log_files.c.endpoint).where(log_files.c.digest == DIGEST).distinct()


class MonitoringNames:
    """Looks up days of inference logs by their content.

    Args:
        database: Where they are.
        delivery: Finds the projects of endpoints.
    """

    def __init__(self, database: Database, delivery: DeliveryNames) -> None:
        self._database, self._delivery = database, delivery

    @PROJECTS_OF_CONTENT()
    def of_content(self, digest: str) -> set[str]:
        """The projects whose endpoints have logged a day with this content.

        Args:
            digest: Digest of the content.
        """
        with self._database.read() as connection:
            endpoints = connection.scalars(_LOGGING, {"digest": digest}).all()
        return {self._delivery.endpoint(name, {}) or "" for name in endpoints} - {""}
