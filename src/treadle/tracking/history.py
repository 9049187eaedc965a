"""Reads series back, keeps them small, and thins them out for charts."""

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, func, select

from treadle.ports.database import Database
from treadle.tracking.segments import Points, compact, joined, unpack
from treadle.tracking.tables import run_segments

FEW = 8
"""Fresh pieces of a series that may wait; more are compacted."""
PIECE = 1 << 16
"""Points in a compact piece."""


def read(connection: Connection, run: int, key: str) -> Points:
    """All points of a series, in the order they came.

    Args:
        connection: An open transaction.
        run: Number of the run's row.
        key: Name of the metric.
    """
    mine = (run_segments.c.run == run) & (run_segments.c.key == key)
    bodies = connection.scalars(
        select(run_segments.c.body).where(mine).order_by(run_segments.c.number)
    ).all()
    return joined([unpack(body) for body in bodies])


def tidy(database: Database, *, series: int = 200, at_least: int = FEW) -> int:
    """Compact series that came in many pieces.

    Args:
        database: Where the series are.
        series: The most series to compact in this call.
        at_least: Number of fresh pieces from which on a series is compacted.

    Returns:
        How many series were compacted.
    """
    count = func.count().label("pieces")
    fresh = select(run_segments.c.run, run_segments.c.key, count).where(run_segments.c.fresh)
    fresh = (
        fresh.group_by(run_segments.c.run, run_segments.c.key)
        .having(count >= at_least)
        .limit(series)
    )
    with database.read() as connection:
        found = connection.execute(fresh).all()
    for at in range(0, len(found), 50):
        with database.write() as transaction:
            for run, key, _ in found[at : at + 50]:
                _compact(transaction, run, key)
    return len(found)


def _compact(transaction: Connection, run: int, key: str) -> None:
    """Replace a series' last pieces by compact ones; the order in which points came stays.

    All fresh pieces are taken, and the compact ones before them that are not much larger, so that
    a point is written again only a few times.
    """
    columns = (run_segments.c.number, run_segments.c.body, run_segments.c.fresh)
    mine = (run_segments.c.run == run) & (run_segments.c.key == key)
    taken: list[tuple[int, Points]] = []
    size = 0
    for number, body, fresh in transaction.execute(
        select(*columns).where(mine).order_by(run_segments.c.number.desc())
    ):
        points = unpack(body)
        if not fresh and (len(points) >= PIECE or len(points) > 2 * size):
            break
        taken.insert(0, (number, points))
        size += len(points)
    together = joined([points for _, points in taken])
    transaction.execute(
        delete(run_segments).where(run_segments.c.number.in_([number for number, _ in taken]))
    )
    bodies = [compact(together.at_places(slice(at, at + PIECE))) for at in range(0, size, PIECE)]
    rows = [{"run": run, "key": key, "fresh": False, "body": body} for body in bodies]
    transaction.execute(run_segments.insert(), rows)


def thinned(points: Points, wanted: int) -> npt.NDArray[np.int64]:
    """Choose points that look like all of them: the first, and each stretch's least and greatest.

    Args:
        points: The series, in the order of its steps.
        wanted: About how many points to choose at most.

    Returns:
        Places in the series, ascending, each once; all of them where there are no more than wanted.
    """
    count = len(points)
    if count <= wanted:
        return np.arange(count)
    stretches = max(wanted // 2 - 1, 1)
    width = -(-count // stretches)
    padded = np.full(stretches * width, np.nan)
    padded[:count] = points.value
    table = padded.reshape(stretches, width)
    starts = np.arange(stretches) * width
    empty = np.isnan(table).all(axis=1)
    low = starts + np.argmin(np.where(np.isnan(table), np.inf, table), axis=1)
    high = starts + np.argmax(np.where(np.isnan(table), -np.inf, table), axis=1)
    places = np.concatenate(
        [[0, count - 1], low[~empty], high[~empty], starts[empty & (starts < count)]]
    )
    return np.unique(places)
