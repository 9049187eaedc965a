"""How many rows were answered: known of measured windows, and read from the log beside them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.delivery.desk import Desk, open_desk
from treadle.monitoring.answers import WindowAnswers
from treadle.monitoring.tables import windows
from treadle.platform.wiring import Embedded
from treadle.serving.log_files import InferenceLogs


def test_answered_rows_are_counted_once(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(open_home)
    desk.live()
    monitoring, begin = desk.platform.monitoring, desk.clock.now()
    for number in range(1, 13):  # every six hours, for three days and a bit
        desk.clock.advance(timedelta(hours=6))
        desk.answer("champion", number)
        desk.answer("champion", 2, error="no memory")
        desk.answer("shadow", 50)
        desk.answer("candidate", 1, error="no memory")
    since, until = begin + timedelta(hours=7), desk.clock.now() + timedelta(seconds=1)
    assert monitoring.answered("p", since, until) == sum(range(2, 13))

    first, second, third = (begin + timedelta(hours=hours) for hours in (12, 36, 60))
    measured(desk, first, second)
    measured(desk, second, third)
    measured(desk, begin, first)  # it began before
    read: list[tuple[datetime, datetime]] = []
    batches = InferenceLogs.batches

    def recorded(logs: InferenceLogs, endpoint: str, first: datetime, last: datetime) -> Any:
        read.append((first, last))
        return batches(logs, endpoint, first, last)

    monkeypatch.setattr(InferenceLogs, "batches", recorded)
    assert monitoring.answered("p", since, until) == sum(range(2, 13))
    assert read == [(since, first), (third, until)]


def measured(desk: Desk, start: datetime, end: datetime) -> None:
    """The window of a period was measured."""
    answers = WindowAnswers(desk.platform.monitoring._logs.batches("p", start, end))
    row: dict[str, Any] = {"endpoint": "p", "start": start, "end": end, "champion": "p:1"}
    row |= {"rows": answers.rows, "errors": answers.errors, "latency_ms_p99": 1.0, "labels": 0}
    row |= {"state": "measured", "drift": "[]", "measures": "[]"}
    with desk.platform.database.write() as transaction:
        transaction.execute(windows.insert().values(row))
