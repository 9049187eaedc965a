"""Moves days of the inference log that are over into the blob store, as one Parquet file each."""

from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import select

from treadle.delivery.model import Endpoint
from treadle.delivery.records import ACTIVE
from treadle.delivery.service import Delivery
from treadle.kernel.clock import Clock
from treadle.monitoring.model import LogFile
from treadle.monitoring.tables import log_files
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.serving.log_days import DAY_SUFFIX
from treadle.serving.log_files import InferenceLogs

GRACE = timedelta(hours=1)
"""How long after midnight a server may still write to the day before."""


class LogArchive:
    """The days of all endpoints' inference logs that are files in the blob store."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        blobs: Blobs,
        delivery: Delivery,
        logs: InferenceLogs,
    ) -> None:
        """Keep the days of logs, and bring them back when they are read.

        Args:
            database: Where the list of files is kept.
            clock: Says which days are over.
            blobs: Where the files are kept.
            delivery: Says which days a rollout still looks at.
            logs: The logs on this disk; from now on they restore days from the blob store.
        """
        self._database, self._clock, self._blobs = database, clock, blobs
        self._delivery, self._logs = delivery, logs
        # Endpoint → the date before which nothing is left to rotate.
        self._rotated: dict[str, date] = {}
        logs.restore = self._restore

    def files(self, endpoint: str, limit: int) -> list[LogFile]:
        """An endpoint's days, newest first.

        Args:
            endpoint: The endpoint's name.
            limit: The most days to list.
        """
        newest = (
            select(log_files)
            .where(log_files.c.endpoint == endpoint)
            .order_by(log_files.c.day.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [load(LogFile, row) for row in connection.execute(newest).mappings()]

    def rotate(self, endpoint: Endpoint) -> None:
        """Make the days that are over into files.

        Days that a server may still write to, or that a rollout's step looks at, are left alone.

        Args:
            endpoint: The endpoint.
        """
        latest = (self._clock.now() - GRACE).date()
        if self._rotated.get(endpoint.name) == latest:
            return
        steps_started = [
            rollout.step_started_at
            for state in ACTIVE
            for rollout in self._delivery.rollouts(endpoint=endpoint.name, state=state)
        ]
        before = min([latest, *(moment.date() for moment in steps_started)])
        if self._rotated.get(endpoint.name) == before:
            return
        for day, file, rows in self._logs.rotate(endpoint.name, before):
            self._keep(endpoint.name, day, file, rows)
        self._rotated[endpoint.name] = before

    def _keep(self, endpoint: str, day: str, file: Path, rows: int) -> None:
        """Put a day's file into the blob store, in place of one that was made of it before."""
        values = {
            "endpoint": endpoint,
            "day": day,
            "digest": self._blobs.put(file),
            "rows": rows,
            "bytes": file.stat().st_size,
        }
        with self._database.write() as transaction:
            transaction.execute(
                log_files.delete().where(log_files.c.endpoint == endpoint, log_files.c.day == day)
            )
            transaction.execute(log_files.insert().values(values))

    def _restore(self, endpoint: str, first: date, last: date) -> None:
        """Bring back days that are in the blob store and not on this disk."""
        between = log_files.c.day.between(first.isoformat(), last.isoformat())
        archived_days = select(log_files.c.day, log_files.c.digest).where(
            log_files.c.endpoint == endpoint, between
        )
        with self._database.read() as connection:
            archived = connection.execute(archived_days).all()
        for day, digest in archived:
            file = self._logs.folder(endpoint) / f"{day}{DAY_SUFFIX}"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                self._blobs.fetch(digest, file)
