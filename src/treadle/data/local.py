"""Data as the process has it that holds the database."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select

from treadle.data.admission import Admission
from treadle.data.erasing.records import ErasedContents
from treadle.data.model import DatasetVersion
from treadle.data.reads import SensitiveReads
from treadle.data.service import LABELS_AT_ONCE, Data, label_in
from treadle.data.tables import labels as label_table
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import NotFound, did_you_mean
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.scope.local import LocalScope
from treadle.stats.classes import Truth


class LocalData(Data):
    """Dataset versions and labels; with what only this process answers.

    Attributes:
        reads: Records who reads sensitive data.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        scope: LocalScope,
        admission: Admission,
        cache: Path,
        reads: SensitiveReads,
        erased: ErasedContents,
    ) -> None:
        super().__init__(database, events, clock, blobs, scope, admission, cache, erased)
        self.reads = reads

    def take(self, project: str, name: str) -> DatasetVersion:
        """Take a version of a dataset's declared files, after the checks that are declared.

        Args:
            project: Name of the project, whose folder is on this machine.
            name: Name of the dataset.

        Raises:
            NotFound: The project does not declare it, or its files do not exist.
            Invalid: A check of severity ``refuse`` failed.
        """
        sources = self._scope.project(name=project).spec.data
        if name not in sources:
            raise NotFound(
                f"Project '{project}' declares no dataset '{name}'.{did_you_mean(name, sources)}"
            )
        return self._take(project, name, sources[name].source)

    def labels_since(self, project: str, moment: datetime) -> dict[str, Truth]:
        """The labels that were recorded at a moment or later, in order of time.

        Args:
            project: Name of the project.
            moment: An aware moment.

        Returns:
            Values by request.
        """
        statement = (
            select(label_table.c.request, label_table.c.value, label_table.c.word)
            .where(label_table.c.project == project, label_table.c.at >= moment)
            .order_by(label_table.c.at, label_table.c.request)
        )
        with self._database.read() as connection:
            rows = connection.execute(statement)
            return {row.request: label_in(row) for row in rows}

    def labels_after(self, project: str, event: int) -> tuple[int, dict[str, Truth]]:
        """The labels that were recorded after an event.

        Args:
            project: Name of the project.
            event: Number of the event.

        Returns:
            The number of the newest event that recorded one of them, ``event`` where none did; and
            values by request.
        """
        own = (label_table.c.project == project) & (label_table.c.event > event)
        statement = select(
            label_table.c.request, label_table.c.value, label_table.c.word, label_table.c.event
        )
        with self._database.read() as connection:
            rows = connection.execute(statement.where(own)).all()
        newest = max((row.event for row in rows), default=event)
        return newest, {row.request: label_in(row) for row in rows}

    def count_labels_after(self, project: str, event: int) -> int:
        """How many requests have labels that were recorded after an event.

        Args:
            project: Name of the project.
            event: Number of the event.
        """
        own = (label_table.c.project == project) & (label_table.c.event > event)
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).where(own)) or 0

    def labels_of(self, project: str, requests: list[str]) -> dict[str, Truth]:
        """The known labels of some requests.

        Args:
            project: Name of the project.
            requests: Ids of the requests.

        Returns:
            Values by request; requests without a label are left out.
        """
        labels: dict[str, Truth] = {}
        with self._database.read() as connection:
            for start in range(0, len(requests), LABELS_AT_ONCE):
                batch = requests[start : start + LABELS_AT_ONCE]
                statement = select(
                    label_table.c.request, label_table.c.value, label_table.c.word
                ).where(label_table.c.project == project, label_table.c.request.in_(batch))
                labels.update((row.request, label_in(row)) for row in connection.execute(statement))
        return labels

    def forget_labels(self, project: str, requests: list[str]) -> int:
        """Remove labels of requests, where the requests are erased.

        Args:
            project: Name of the project.
            requests: Ids of the requests.

        Returns:
            The number of labels that were removed.
        """
        removed = 0
        with self._database.write() as transaction:
            for start in range(0, len(requests), LABELS_AT_ONCE):
                batch = requests[start : start + LABELS_AT_ONCE]
                own = (label_table.c.project == project) & label_table.c.request.in_(batch)
                removed += transaction.execute(label_table.delete().where(own)).rowcount
        return removed
