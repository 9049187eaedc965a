"""Keeps good and total events of SLOs by the minute, as counters that only grow.

A row holds the events before the end of a minute, counted from the first on. So the events of any
window are the difference of two rows, however long it is, and rows that nobody needs any more can
be removed without changing a sum. What comes late is added to its own minute.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    TextClause,
    func,
    select,
    text,
    type_coerce,
)

from treadle.kernel.clock import EPOCH, to_micros
from treadle.monitoring.slo.burn_rates import Counts
from treadle.monitoring.tables import slo_counts

MINUTE = timedelta(minutes=1)
KEPT_BY_THE_MINUTE = timedelta(days=4)
KEPT_BY_THE_HOUR = timedelta(days=100)
_HOUR_MICROS = 3_600_000_000


def minute_of(moment: datetime) -> datetime:
    """The start of the minute that holds a moment.

    Args:
        moment: An aware moment.
    """
    return moment - (moment - EPOCH) % MINUTE


def add(
    transaction: Connection, endpoint: str, condition: str, counted: Mapping[datetime, Counts]
) -> None:
    """Add events to the minutes in which they were.

    Args:
        transaction: An open write transaction.
        endpoint: Name of the endpoint.
        condition: What made them good.
        counted: End of a minute → the events in it.
    """
    if not counted:
        return
    own = (slo_counts.c.endpoint == endpoint) & (slo_counts.c.condition == condition)
    first = min(counted)
    before = transaction.execute(_newest(own & (slo_counts.c.until < first))).one_or_none()
    running = Counts(before.good, before.total) if before else Counts()
    later = own & (slo_counts.c.until >= first)
    kept = transaction.execute(
        select(slo_counts.c.until, slo_counts.c.good, slo_counts.c.total)
        .where(later)
        .order_by(slo_counts.c.until)
    ).all()
    increments = {until: Counts(*counts) for until, counts in counted.items()}
    known = running
    for row in kept:
        step = Counts(row.good, row.total) - known
        more = increments.get(row.until, Counts())
        increments[row.until] = Counts(step.good + more.good, step.total + more.total)
        known = Counts(row.good, row.total)
    rows = []
    for until, step in sorted(increments.items()):
        running = Counts(running.good + step.good, running.total + step.total)
        rows.append({"until": until, "good": running.good, "total": running.total})
    about = {"endpoint": endpoint, "condition": condition}
    transaction.execute(slo_counts.delete().where(later))
    transaction.execute(slo_counts.insert(), [about | row for row in rows])


def forget(transaction: Connection, endpoint: str, condition: str) -> None:
    """Remove all counts of a condition, to count it anew.

    Args:
        transaction: An open write transaction.
        endpoint: Name of the endpoint.
        condition: The condition.
    """
    transaction.execute(
        slo_counts.delete().where(
            slo_counts.c.endpoint == endpoint, slo_counts.c.condition == condition
        )
    )


def states(
    connection: Connection, endpoint: str, condition: str, moments: Sequence[datetime]
) -> list[Counts]:
    """The counter at each of some moments.

    Args:
        connection: An open connection.
        endpoint: Name of the endpoint.
        condition: The condition.
        moments: The moments, in whole minutes.
    """
    given = {f"until_{index}": to_micros(moment) for index, moment in enumerate(moments)}
    about = {"endpoint": endpoint, "condition": condition}
    read = connection.execute(_states_at(len(moments)), about | given).one()
    return [Counts(read[index] or 0, read[index + 1] or 0) for index in range(0, len(read), 2)]


@cache
def _states_at(count: int) -> TextClause:
    """The statement that reads a counter at some moments.

    It is text, since it runs for each objective each minute: to build it of clauses takes fifty
    times longer than to run it.
    """
    columns = [
        f"(SELECT {column} FROM slo_counts WHERE endpoint = :endpoint AND condition = :condition "
        f"AND until <= :until_{index} ORDER BY until DESC LIMIT 1)"
        for index in range(count)
        for column in ("good", "total")
    ]
    return text(f"SELECT {', '.join(columns)}")


def newest_minute(connection: Connection, endpoint: str, condition: str) -> datetime | None:
    """The end of the newest minute with events, or None.

    Args:
        connection: An open connection.
        endpoint: Name of the endpoint.
        condition: The condition.
    """
    moment: datetime | None = connection.scalar(
        select(func.max(slo_counts.c.until)).where(
            slo_counts.c.endpoint == endpoint, slo_counts.c.condition == condition
        )
    )
    return moment


def thin(transaction: Connection, endpoint: str, now: datetime) -> None:
    """Keep an hour's newest row of what is old, and the newest of what no period reaches any more.

    Args:
        transaction: An open write transaction.
        endpoint: Name of the endpoint.
        now: The present time.
    """
    until = slo_counts.c.until
    hour = (type_coerce(until, BigInteger) - 1) // _HOUR_MICROS
    kept_by: list[tuple[timedelta, list[ColumnElement[Any]]]] = [
        (KEPT_BY_THE_MINUTE, [slo_counts.c.condition, hour]),
        (KEPT_BY_THE_HOUR, [slo_counts.c.condition]),
    ]
    for age, groups in kept_by:
        old = (slo_counts.c.endpoint == endpoint) & (until <= now - age)
        newest = select(func.max(until)).where(old).group_by(*groups)
        transaction.execute(slo_counts.delete().where(old, until.not_in(newest)))


def _newest(before: ColumnElement[bool]) -> Select[tuple[int, int]]:
    """The newest row that meets a condition."""
    return (
        select(slo_counts.c.good, slo_counts.c.total)
        .where(before)
        .order_by(slo_counts.c.until.desc())
        .limit(1)
    )
