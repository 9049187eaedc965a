"""Runs as they are stored, with what belongs to them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import NotFound
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.tracking import ingest
from treadle.tracking.ingest import put_texts
from treadle.tracking.model import (
    Run,
    check_text,
)
from treadle.tracking.tables import (
    experiments,
    run_metrics,
    run_params,
    run_tags,
    runs,
)


class TrackingRecords:
    """Looks runs up."""

    def __init__(self, database: Database, events: LocalEvents, clock: Clock, blobs: Blobs) -> None:
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs

    def _number(self, connection: Connection, run: str) -> int:
        number = connection.scalar(select(runs.c.number).where(runs.c.id == run))
        if number is None:
            raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
        return int(number)

    def _record(self, run: str) -> "Record":
        """One run as it is stored."""
        with self._database.read() as connection:
            row = connection.execute(select(runs).where(runs.c.id == run)).one_or_none()
            if row is None:
                raise NotFound(f"There is no run '{run}'. List them with: treadle tracking find")
            return records(connection, [row])[0]

    def _texts(
        self, transaction: Connection, table: Table, run: str, given: Mapping[str, str]
    ) -> None:
        for key, value in given.items():
            check_text("Parameter" if table is run_params else "Tag", key, value)
        if given:
            row = transaction.execute(
                select(runs.c.number, runs.c.experiment).where(runs.c.id == run)
            ).one()
            put_texts(
                transaction,
                table,
                [(row.number, row.experiment, key, value) for key, value in given.items()],
            )


class Record(NamedTuple):
    """A row of ``runs`` with what belongs to it, as it is stored."""

    row: Any
    params: dict[str, str]
    tags: dict[str, str]
    metrics: list[Any]
    artifacts_at: str

    def run(self) -> Run:
        """The run as operations return it; a last value that is missing is NaN."""
        row = self.row
        return Run(
            id=row.id,
            experiment=row.experiment,
            project=row.project,
            name=row.name,
            user=row.user,
            status=row.status,
            started_at=row.started_at,
            ended_at=row.ended_at,
            deleted_at=row.deleted_at,
            params=self.params,
            tags=self.tags,
            metrics={
                metric.key: math.nan if metric.last is None else metric.last
                for metric in self.metrics
            },
        )


def records(connection: Connection, rows: Sequence[Any]) -> list[Record]:
    """Read what belongs to runs.

    Args:
        connection: An open transaction.
        rows: Rows of ``runs``.

    Returns:
        One record per run, in the order of the rows.
    """
    wanted = select(experiments.c.id, experiments.c.artifacts_at)
    places = dict(
        connection.execute(
            wanted.where(experiments.c.id.in_({row.experiment for row in rows}))
        ).all()
    )
    found = {
        row.number: Record(row, {}, {}, [], f"{places[row.experiment]}/{row.id}/artifacts")
        for row in rows
    }
    numbers = list(found)
    for at in range(0, len(numbers), ingest.MANY):
        some = numbers[at : at + ingest.MANY]
        for run, key, value in connection.execute(_texts_of(run_params, some)):
            found[run].params[key] = value
        for run, key, value in connection.execute(_texts_of(run_tags, some)):
            found[run].tags[key] = value
        for metric in connection.execute(select(run_metrics).where(run_metrics.c.run.in_(some))):
            found[metric.run].metrics.append(metric)
    return list(found.values())


def _texts_of(table: Table, numbers: Sequence[int]) -> Select[Any]:
    return select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(numbers))


def fitting(id: int) -> int:
    """Keep a number of an experiment within what the column takes.

    Args:
        id: The number that is asked for.

    Returns:
        The number, or -1, which no experiment has, where it is beyond 31 bits.
    """
    return id if -1 <= id < 2**31 else -1
