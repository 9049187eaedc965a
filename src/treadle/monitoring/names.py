"""Finds the projects whose inference logs are a content."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.delivery.names import DeliveryNames
from treadle.kernel.stage import PROJECTS_OF_CONTENT, SENSITIVE_CONTENT
from treadle.monitoring.tables import log_files
from treadle.ports.content import SensitiveContent
from treadle.ports.database import Database
from treadle.ports.naming import DIGEST
from treadle.scope.model import DataSource

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

    @SENSITIVE_CONTENT()
    def days(self, project: str, dataset: str, source: DataSource) -> Iterator[SensitiveContent]:
        """Yield the days of inference logs of a project that learns from a dataset: like rows.

        Args:
            project: Name of the project.
            dataset: Name of the dataset, which plays no part.
            source: Its declaration.
        """
        del dataset
        if not source.is_learnt_from:
            return
        with self._database.read() as connection:
            kept = connection.execute(select(log_files).order_by(log_files.c.day)).all()
        for day in kept:
            if self._delivery.endpoint(day.endpoint, {}) == project:
                what = f"day {day.day} of the inference log of endpoint '{day.endpoint}'"
                yield SensitiveContent(day.digest, what, is_tree=False)
