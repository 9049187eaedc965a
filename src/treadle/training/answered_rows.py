"""Collects answered requests whose labels have come, as rows that a model can learn from."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np
from sqlalchemy import select

from treadle.data.engine import query_engine
from treadle.data.local import LocalData
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import Entity, from_json, to_text
from treadle.kernel.escaping import sql_name, sql_text
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.serving.log_batch import LogBatch
from treadle.serving.log_files import InferenceLogs
from treadle.stats.classes import Truth
from treadle.training.model import RowsCollected
from treadle.training.tables import answered_rows

INPUT = "input_"
"""Before the name of each input's column in a portion."""
WORD = "word"
"""The column of a portion with labels that are no numbers; a portion of numbers has none."""
DRAWS = 10_000
MOST_UNMATCHED = 100_000
"""Labels without a request that are tried again when more labels come."""


class EndpointsOf(Protocol):
    """Finds the endpoints of a project: their names, and the days on which they began."""

    def __call__(self, project: str) -> list[tuple[str, date]]:
        """Return the endpoints of a project.

        Args:
            project: Name of the project.
        """


class Portion(Entity):
    """Rows that were collected at one time. A later portion may correct rows of an earlier one.

    Attributes:
        digest: Digest of a stored Parquet file, or '' where no label had a request.
        rows: Number of its rows.
        label_event: Number of the newest event whose labels were looked at.
        unmatched: Ids of labels that named no answered request.
        first: Time of the first request, or None.
        last: Time of the last request, or None.
    """

    digest: str
    rows: int
    label_event: int
    unmatched: list[str]
    first: datetime | None
    last: datetime | None


class AnsweredRows:
    """The labelled answers of each project, in portions; each label is looked for once.

    Args:
        database: Where portions are recorded.
        events: The event log.
        clock: The source of time.
        blobs: Where portions are stored.
        data: The labels.
        logs: The inference logs.
        endpoints_of: Finds a project's endpoints.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        data: LocalData,
        logs: InferenceLogs,
        endpoints_of: EndpointsOf,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._data, self._logs = blobs, data, logs
        self._endpoints_of = endpoints_of

    def portions(self, project: str) -> list[Portion]:
        """The portions of a project, oldest first.

        Args:
            project: Name of the project.
        """
        own = select(answered_rows).where(answered_rows.c.project == project)
        with self._database.read() as connection:
            rows = connection.execute(own.order_by(answered_rows.c.label_event)).mappings().all()
        return [
            Portion(
                digest=row["digest"],
                rows=row["rows"],
                label_event=row["label_event"],
                unmatched=from_json(row["unmatched"], list[str]),
                first=row["first"],
                last=row["last"],
            )
            for row in rows
        ]

    def labels_after(self, project: str, event: int) -> int:
        """How many requests have labels that were recorded after an event.

        Args:
            project: Name of the project.
            event: Number of the event.
        """
        return self._data.count_labels_after(project, event)

    def collect(self, project: str) -> list[Portion]:
        """Join the labels that came since the last call to their requests, as a new portion.

        Args:
            project: Name of the project.

        Returns:
            All portions of the project, oldest first.
        """
        portions = self.portions(project)
        before = portions[-1] if portions else None
        newest, labels = self._data.labels_after(project, before.label_event if before else 0)
        if not labels:
            return portions
        tried_again = before.unmatched[-MOST_UNMATCHED:] if before else []
        old = self._data.labels_of(project, [id for id in tried_again if id not in labels])
        found: list[dict[str, Any]] = []
        # What named no request before can only name one that was answered since.
        self._match(project, labels, found, since=None)
        self._match(project, old, found, since=before.last if before else None)
        portion = self._store(found, newest, [*labels, *old])
        self._record(project, portion, [*labels, *old])
        return [*portions, portion]

    def _match(
        self,
        project: str,
        labels: dict[str, Truth],
        found: list[dict[str, Any]],
        since: datetime | None,
    ) -> None:
        """Take out of ``labels`` those whose request is in the log, from the newest day on."""
        for endpoint, began in self._endpoints_of(project):
            oldest = max(began, since.date() - timedelta(days=1)) if since else began
            for start in _days_back(self._clock.now(), oldest):
                if not labels:
                    return
                for batch in self._logs.batches(endpoint, start, start + timedelta(days=1)):
                    if batch.facts.role != "shadow":
                        taken = _taken(batch, labels)
                        found += [taken] if taken else []
                for taken in found:
                    for request in taken["request"]:
                        labels.pop(request, None)

    def _store(self, found: list[dict[str, Any]], newest: int, left: list[str]) -> Portion:
        rows = sum(len(taken["request"]) for taken in found)
        digest, first, last = "", None, None
        if found:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "rows.parquet")
                _write(found, file)
                digest = self._blobs.put(file)
            moments = [int(moment) for taken in found for moment in taken["asked_at"]]
            first, last = (
                datetime.fromtimestamp(end / 1e6, UTC) for end in (min(moments), max(moments))
            )
        return Portion(
            digest=digest, rows=rows, label_event=newest, unmatched=left, first=first, last=last
        )

    def _record(self, project: str, portion: Portion, unmatched: list[str]) -> None:
        event = RowsCollected(
            project=project,
            digest=portion.digest,
            rows=portion.rows,
            unmatched=len(unmatched),
            first=portion.first,
            last=portion.last,
        )
        row = {name: getattr(portion, name) for name in portion.__struct_fields__}
        row |= {"project": project, "unmatched": to_text(unmatched)}
        same = (answered_rows.c.project == project) & (
            answered_rows.c.label_event == portion.label_event
        )
        with self._database.write() as transaction:
            if transaction.execute(select(answered_rows.c.rows).where(same)).first() is not None:
                return  # another process has collected the same labels meanwhile
            transaction.execute(answered_rows.insert().values(row))
            self._events.append(transaction, event)


def _days_back(now: datetime, oldest: date) -> Iterator[datetime]:
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    while day.date() >= oldest:
        yield day
        day -= timedelta(days=1)


def _taken(batch: LogBatch, labels: dict[str, Truth]) -> dict[str, Any] | None:
    """The labelled rows of a batch as columns, without those that failed."""
    errors = batch.facts.errors
    ids = batch.row_ids
    kept = [row for row, id in enumerate(ids) if id in labels and row not in errors]
    if not kept:
        return None
    columns: dict[str, Any] = {
        "request": np.array([ids[row] for row in kept], dtype=object),
        "asked_at": batch.row_moments[kept],
        "label": np.array([_number(labels[ids[row]]) for row in kept], dtype=np.float64),
        "draw": np.array([crc32(ids[row].encode()) % DRAWS for row in kept], dtype=np.int64),
    }
    words = [_word(labels[ids[row]]) for row in kept]
    if any(word is not None for word in words):
        columns[WORD] = np.array(words, dtype=object)
    for name in (*batch.facts.columns[0], *batch.facts.columns[1]):
        values = batch.column(name)
        assert values is not None
        columns[INPUT + name] = values[kept]
    return columns


def _number(label: Truth) -> float:
    return np.nan if isinstance(label, str | bool) else label


def _word(label: Truth) -> str | None:
    """A label that is no number, as text: ``true`` and ``false`` as in JSON."""
    if isinstance(label, bool):
        return str(label).lower()
    return label if isinstance(label, str) else None


def _write(found: list[dict[str, Any]], file: Path) -> None:
    """Write columns as one Parquet file; an input that a part lacks is null there."""
    kinds = {"request": "VARCHAR", "asked_at": "BIGINT", "label": "DOUBLE", "draw": "BIGINT"}
    for taken in found:
        for name, values in taken.items():
            kinds.setdefault(name, "VARCHAR" if values.dtype == object else "DOUBLE")
    with query_engine() as connection:
        described = ", ".join(f"{sql_name(name)} {kind}" for name, kind in kinds.items())
        connection.execute(f"CREATE OR REPLACE TEMP TABLE portion ({described})")
        for columns in _joined(found, kinds):
            named = ", ".join(map(sql_name, columns))
            connection.execute(f"INSERT INTO portion BY NAME SELECT {named} FROM columns")
        connection.execute(
            "COPY (SELECT * FROM portion ORDER BY asked_at, request) "
            f"TO {sql_text(file)} (FORMAT parquet, COMPRESSION zstd)"
        )


def _joined(found: list[dict[str, Any]], kinds: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Parts with the same columns as one."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for taken in found:
        groups.setdefault(tuple(taken), []).append(taken)
    for names, group in groups.items():
        columns = {name: np.concatenate([taken[name] for taken in group]) for name in names}
        yield {
            name: np.array([None if v is None else str(v) for v in values], dtype=object)
            if kinds[name] == "VARCHAR"
            else values
            for name, values in columns.items()
        }
