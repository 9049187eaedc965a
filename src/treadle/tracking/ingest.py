"""Writes many senders' batches in one transaction.

What is slow, making them durable, is done once for all of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Table, select, text
from sqlalchemy.exc import SQLAlchemyError

from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.ports.database import Database
from treadle.tracking import segments
from treadle.tracking.model import Batch, check_key, check_text
from treadle.tracking.segments import LARGEST, Step, pack, split, unpack
from treadle.tracking.tables import (
    HEAD,
    run_metrics,
    run_params,
    run_segments,
    run_streams,
    run_tags,
    runs,
)

EARLIEST, LATEST = (
    to_micros(moment.replace(tzinfo=UTC)) for moment in (datetime.min, datetime.max)
)
MANY = 5_000
"""Values in one IN list at most; both databases take more."""


class Column(NamedTuple):
    """A metric's points as lists, as they are when they come one by one."""

    steps: list[Step]
    at: list[int]
    values: list[float]


class Incoming(NamedTuple):
    """A batch on its way in.

    Attributes:
        run: Id of the run.
        columns: Points as lists, by metric.
        packed: Points as packed pieces (see ``segments``), by metric.
        params: Parameters by key.
        tags: Tags by key.
        stream: Name of a sender that may send a batch twice; empty for any other.
        sequence: The batch's place in its stream, from 1; each is stored once.
    """

    run: str
    columns: dict[str, Column] = {}
    packed: dict[str, bytes] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    stream: str = ""
    sequence: int = 0


class _Run(NamedTuple):
    number: int
    experiment: int
    deleted: bool


class _Summary(NamedTuple):
    """What a series' row learns from new points."""

    points: int
    place: tuple[int, float, int]  # whole step, fraction, time of the last
    last: float
    low: float | None
    high: float | None

    def then(self, later: "_Summary") -> "_Summary":
        newer = later if later.place >= self.place else self
        lows = [low for low in (self.low, later.low) if low is not None]
        highs = [high for high in (self.high, later.high) if high is not None]
        points = self.points + later.points
        return _Summary(
            points, newer.place, newer.last, min(lows, default=None), max(highs, default=None)
        )


def incoming(batch: Batch) -> Incoming:
    """A client's batch as it is written.

    Args:
        batch: The batch; its points stay packed.
    """
    return Incoming(
        run=batch.run,
        packed=batch.points,
        params=batch.params,
        tags=batch.tags,
        stream=batch.stream,
        sequence=batch.sequence,
    )


def write(database: Database, batches: Sequence[Incoming]) -> list[Exception | None]:
    """Make batches durable, in order, in one transaction; each one succeeds or fails by itself.

    Where the transaction fails as a whole, each batch is tried in its own.

    Args:
        database: Where runs are.
        batches: The batches, those of one stream by their sequence.

    Returns:
        What each batch failed with, None where it was written, in the order of the batches.

    Raises:
        TreadleError: What stops all of them, such as a database that does not answer.
    """
    try:
        with database.write() as transaction:
            return _Commit(transaction, batches).done()
    except (SQLAlchemyError, ValueError) as error:
        if len(batches) == 1:
            return [error]
        return [outcome for batch in batches for outcome in write(database, [batch])]


def write_in(transaction: Connection, batches: Sequence[Incoming]) -> None:
    """Add batches in the transaction of whoever needs it.

    Args:
        transaction: An open write transaction.
        batches: The batches, in order.

    Raises:
        TreadleError: What the first refused batch was refused for; the caller rolls back.
    """
    for failed in _Commit(transaction, batches).done():
        if failed is not None:
            raise failed


def put_texts(
    transaction: Connection, table: Table, rows: Iterable[tuple[int, int, str, str]]
) -> None:
    """Set parameters or tags.

    Args:
        transaction: An open write transaction.
        table: ``run_params`` or ``run_tags``.
        rows: Each as (number of the run's row, number of its experiment, key, value).
    """
    values = [
        {"run": r, "experiment": e, "key": k, "head": v[:HEAD], "value": v} for r, e, k, v in rows
    ]
    if values:
        transaction.execute(_PUT_TEXT[table.name], values)


class _Commit:
    """One transaction's worth of batches."""

    def __init__(self, transaction: Connection, batches: Sequence[Incoming]) -> None:
        self._transaction, self._batches = transaction, batches
        self._runs = _known_runs(transaction, {batch.run for batch in batches})
        self._sequences = self._known_sequences({batch.stream for batch in batches if batch.stream})
        self._params = self._known_params({batch.run for batch in batches if batch.params})
        self._fresh: dict[tuple[int, str], list[Column | bytes]] = defaultdict(list)
        self._series: dict[tuple[int, int, str], _Summary] = {}
        self._new_params: list[tuple[int, int, str, str]] = []
        self._new_tags: dict[tuple[int, int, str], str] = {}

    def done(self) -> list[Exception | None]:
        outcomes = [self._take(batch) for batch in self._batches]
        self._store()
        return outcomes

    def _take(self, batch: Incoming) -> Exception | None:
        try:
            self._accept(batch)
        except TreadleError as error:
            return error
        return None

    def _accept(self, batch: Incoming) -> None:
        """Check all of a batch before any of it counts."""
        run = self._run(batch.run)
        if batch.stream and batch.sequence <= self._sequences.get(batch.stream, 0):
            return
        summaries = {key: _of_column(key, column) for key, column in batch.columns.items()}
        summaries |= {
            key: _of_piece(key, piece) for key, piece in batch.packed.items() if len(piece) > 6
        }
        params = self._checked_params(batch, run)
        for key, value in batch.tags.items():
            check_text("Tag", key, value)
        for key, summary in summaries.items():
            self._fresh[run.number, key].append(batch.columns.get(key) or batch.packed[key])
            before = self._series.get((run.number, run.experiment, key))
            self._series[run.number, run.experiment, key] = (
                before.then(summary) if before else summary
            )
        self._params[run.number] = (
            {**self._params.get(run.number, {}), **params}
            if params
            else self._params.get(run.number, {})
        )
        self._new_params += [
            (run.number, run.experiment, key, value) for key, value in params.items()
        ]
        self._new_tags |= {
            (run.number, run.experiment, key): value for key, value in batch.tags.items()
        }
        if batch.stream:
            self._sequences[batch.stream] = batch.sequence

    def _run(self, name: str) -> _Run:
        run = self._runs.get(name)
        if run is None:
            raise NotFound(f"There is no run '{name}'. List them with: treadle tracking find")
        if run.deleted:
            raise Invalid(
                f"The run {name} must be in the 'active' state. Current state is deleted."
            )
        return run

    def _checked_params(self, batch: Incoming, run: _Run) -> dict[str, str]:
        known = self._params.get(run.number, {})
        for key, value in batch.params.items():
            check_text("Parameter", key, value)
            if known.get(key, value) != value:
                raise Conflict(
                    f"Parameter '{key}' of run '{batch.run}' is '{known[key][:200]}' already; a "
                    "parameter is set once."
                )
        return {key: value for key, value in batch.params.items() if key not in known}

    def _store(self) -> None:
        execute = self._transaction.execute
        if self._fresh:
            rows = [
                {"run": run, "key": key, "fresh": True, "body": body}
                for (run, key), pieces in self._fresh.items()
                for body in _bodies(pieces)
            ]
            execute(run_segments.insert(), rows)
            execute(_PUT_SERIES, [_row(*where, summary) for where, summary in self._series.items()])
        put_texts(self._transaction, run_params, self._new_params)
        put_texts(
            self._transaction,
            run_tags,
            [(*where, value) for where, value in self._new_tags.items()],
        )
        streams = {batch.stream for batch in self._batches if batch.stream in self._sequences}
        if streams:
            execute(
                _PUT_STREAM,
                [{"stream": stream, "sequence": self._sequences[stream]} for stream in streams],
            )

    def _known_sequences(self, streams: set[str]) -> dict[str, int]:
        if not streams:
            return {}
        wanted = select(run_streams.c.stream, run_streams.c.sequence).where(
            run_streams.c.stream.in_(list(streams))
        )
        return {stream: sequence for stream, sequence in self._transaction.execute(wanted)}  # noqa: C416

    def _known_params(self, names: set[str]) -> dict[int, dict[str, str]]:
        numbers = [self._runs[name].number for name in names if name in self._runs]
        if not numbers:
            return {}
        found: dict[int, dict[str, str]] = {}
        wanted = select(run_params.c.run, run_params.c.key, run_params.c.value).where(
            run_params.c.run.in_(numbers)
        )
        for run, key, value in self._transaction.execute(wanted):
            found.setdefault(run, {})[key] = value
        return found


def _known_runs(transaction: Connection, names: set[str]) -> dict[str, _Run]:
    found: dict[str, _Run] = {}
    every = list(names)
    for at in range(0, len(every), MANY):
        wanted = select(runs.c.id, runs.c.number, runs.c.experiment, runs.c.deleted_at)
        for name, number, experiment, deleted in transaction.execute(
            wanted.where(runs.c.id.in_(every[at : at + MANY]))
        ):
            found[name] = _Run(number, experiment, deleted is not None)
    return found


def _of_column(key: str, column: Column) -> _Summary:
    check_key("Metric", key)
    if len(column.values) == 1:
        value, at = column.values[0], column.at[0]
        _check_times(key, at, at)
        number = None if value != value else value
        return _Summary(1, (*split(column.steps[0]), at), value, number, number)
    _check_times(key, min(column.at), max(column.at))
    places = [(*split(step), at) for step, at in zip(column.steps, column.at, strict=True)]
    last = max(range(len(places)), key=lambda place: (places[place], place))
    numbers = [value for value in column.values if value == value]
    low, high = min(numbers, default=None), max(numbers, default=None)
    return _Summary(len(places), places[last], column.values[last], low, high)


def _of_piece(key: str, piece: bytes) -> _Summary:
    check_key("Metric", key)
    points = unpack(piece)
    _check_times(key, int(points.at.min()), int(points.at.max()))
    rest = np.zeros(len(points)) if points.rest is None else points.rest
    last = (
        int(np.lexsort((points.at, rest, points.whole))[-1])
        if _unordered(points)
        else len(points) - 1
    )
    place = (int(points.whole[last]), float(rest[last]), int(points.at[last]))
    numbers = points.value[~np.isnan(points.value)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (None, None)
    return _Summary(len(points), place, float(points.value[last]), low, high)


def _check_times(key: str, earliest: int, latest: int) -> None:
    if earliest < EARLIEST or latest > LATEST:
        raise Invalid(
            f"A point of metric '{key}' is of a time that no calendar has: it must be in the "
            "years 1 to 9999."
        )


def _unordered(points: segments.Points) -> bool:
    rising = points.rest is None and bool(np.all(points.whole[1:] >= points.whole[:-1]))
    return not (rising and bool(np.all(points.at[1:] >= points.at[:-1])))


def _bodies(pieces: list[Column | bytes]) -> list[bytes]:
    """Pieces ready to store: lists that came one by one become one piece."""
    found: list[bytes] = []
    waiting = Column([], [], [])
    for piece in [*pieces, b""]:
        if isinstance(piece, Column):
            waiting.steps.extend(piece.steps)
            waiting.at.extend(piece.at)
            waiting.values.extend(piece.values)
            continue
        for at in range(0, len(waiting.values), LARGEST):
            part = slice(at, at + LARGEST)
            found.append(pack(waiting.steps[part], waiting.at[part], waiting.values[part]))
        waiting = Column([], [], [])
        found += [piece] if piece else []
    return found


def _row(run: int, experiment: int, key: str, summary: _Summary) -> dict[str, Any]:
    whole, rest, at = summary.place
    last = None if summary.last != summary.last else summary.last
    row = {"run": run, "experiment": experiment, "key": key, "points": summary.points, "last": last}
    return row | {"step": whole, "rest": rest, "at": at, "low": summary.low, "high": summary.high}


def _upsert(table: Table, changes: str) -> Any:
    """An insert that becomes an update where the row is there, in both databases."""
    names = [column.name for column in table.columns]
    keys = ", ".join(column.name for column in table.primary_key)
    values = ", ".join(f":{name}" for name in names)
    return text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) ON CONFLICT ({keys}) DO "
        f"UPDATE SET {changes}"
    )


_LATER = (
    f"(excluded.step > {run_metrics.name}.step OR (excluded.step = {run_metrics.name}.step AND "
    f"(excluded.rest > {run_metrics.name}.rest"
    f" OR (excluded.rest = {run_metrics.name}.rest AND excluded.at >= {run_metrics.name}.at))))"
)


def _newer(column: str) -> str:
    return (
        f"{column} = CASE WHEN {_LATER} THEN excluded.{column} ELSE {run_metrics.name}.{column} END"
    )


def _extreme(column: str, sign: str) -> str:
    old = f"{run_metrics.name}.{column}"
    better = f"{old} IS NULL OR excluded.{column} {sign} {old}"
    return f"{column} = CASE WHEN {better} THEN excluded.{column} ELSE {old} END"


_PUT_SERIES = _upsert(
    run_metrics,
    ", ".join(
        [
            f"points = {run_metrics.name}.points + excluded.points",
            *map(_newer, ("last", "step", "rest", "at")),
            _extreme("low", "<"),
            _extreme("high", ">"),
        ]
    ),
)
_PUT_TEXT = {
    table.name: _upsert(table, "head = excluded.head, value = excluded.value")
    for table in (run_params, run_tags)
}
_PUT_STREAM = _upsert(run_streams, "sequence = excluded.sequence")
