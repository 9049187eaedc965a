"""However many incidents there are, each is told, and a quiet turn reads little."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from tests.incidents.conftest import DAY, START, Ward
from tests.incidents.sinks import HttpSink
from tests.incidents.test_bad_values import received
from tests.incidents.test_telling import pass_time, sink, told
from treadle.incidents import local
from treadle.incidents.grouping import Grouping
from treadle.incidents.model import IncidentMessageSent
from treadle.incidents.records import read_incidents
from treadle.incidents.tables import incidents
from treadle.scope import service
from treadle.scope.alerting import NotifyRoute

__all__ = ["sink"]


def test_more_incidents_than_a_page_holds_are_all_told(
    ward: Ward, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "PAGE", 2)
    ward.declare(NotifyRoute(to=sink.url))
    endpoints = ["a", "b", "c", "d", "e"]
    for endpoint in endpoints:
        ward.burns(endpoint=endpoint)
    pass_time(ward, minutes=1)
    for endpoint in endpoints:
        ward.recovers(endpoint=endpoint)
    pass_time(ward, minutes=1)
    assert sorted(told(sink)) == ["opened"] * 5 + ["resolved"] * 5


def test_of_reminders_the_newest_is_read(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url, every="1m"))
    ward.burns()
    for _ in range(5):
        pass_time(ward, minutes=1)
    assert told(sink) == ["opened", *["reminder"] * 4]
    with ward.platform.database.read() as connection:
        found = read_incidents(connection, incidents.c.project == "p")
        (read,) = ward.incidents._outbox.told(connection, found).values()
    assert [one.change for one in read] == ["opened", "reminder"]


def test_what_is_over_and_told_is_not_looked_at(
    ward: Ward, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    pass_time(ward, minutes=1)
    ward.recovers()
    pass_time(ward, minutes=1)
    assert told(sink) == ["opened", "resolved"]

    def decoded(*_: Any, **__: Any) -> None:
        raise AssertionError("a declaration was read")

    monkeypatch.setattr(service, "project_of", decoded)
    with pytest.raises(AssertionError, match="was read"):
        ward.platform.scope.projects()
    assert ward.incidents.tell() == 0


def test_a_turn_asks_no_more_where_more_projects_have_open_incidents(
    ward: Ward, sink: HttpSink
) -> None:
    def open_incidents(numbers: range) -> None:
        for number in numbers:
            ward.declare(name=f"quiet{number}")
            ward.happens(received(f"quiet{number}"))
        while ward.incidents.react():
            pass

    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    open_incidents(range(1))
    pass_time(ward, minutes=1)
    assert told(sink) == ["opened"]
    asked: list[int] = []
    for numbers in (range(1, 2), range(2, 6)):
        open_incidents(numbers)
        with counted_statements(ward.platform.database) as statements:
            assert ward.incidents.tell() == 0
        asked.append(len(statements))
    assert asked[0] == asked[1]


@contextmanager
def counted_statements(database: Any) -> Iterator[list[str]]:
    """Notes what a database is asked."""
    statements: list[str] = []

    def note(*about: Any) -> None:
        statements.append(about[2])

    event.listen(database._engine, "before_cursor_execute", note)
    yield statements
    event.remove(database._engine, "before_cursor_execute", note)


def test_a_quiet_end_is_looked_for_once_a_minute(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, everywhere = Grouping.settle, []

    def counted(grouping: Grouping, moment: datetime, *which: Any) -> int:
        everywhere.extend([] if which else [moment])
        return settle(grouping, moment, *which)

    monkeypatch.setattr(Grouping, "settle", counted)
    ward.window(0, drifts=True)
    for _ in range(4):
        ward.burns()
        while ward.incidents.react():
            pass
        ward.clock.advance(timedelta(seconds=20))
    assert everywhere == [START + DAY, START + DAY + timedelta(minutes=1)]


def test_windows_are_read_from_the_finding_on(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WINDOWS", 1)
    ward.window(0, drifts=True)
    ward.react()
    for day in range(1, 9):
        ward.window(day)
    monitoring, read = ward.platform.monitoring, []
    after = type(monitoring).windows_after

    def counted(*given: Any) -> Any:
        found = after(*given)
        read.extend(found)
        return found

    monkeypatch.setattr(type(monitoring), "windows_after", counted)
    ward.react()
    assert ward.only().resolved_at == START + 3 * DAY
    assert [window.start for window in read] == [START + DAY, START + 2 * DAY]


def test_a_thousand_reminders_hide_no_end(ward: Ward) -> None:
    number = ward.burns()
    ward.react()
    about: dict[str, Any] = {"incident": number, "project": "p", "route": "https://x"}
    with ward.platform.database.write() as transaction:
        for _ in range(1001):
            reminded = IncidentMessageSent(**about, change="reminder")
            ward.platform.events.append(transaction, reminded)
    ward.incidents.note(incident=number, text="looked at it")
    ward.incidents.resolve(incident=number, reason="it is over")
    timeline = ward.incidents.timeline(incident=number)
    assert [one.what for one in timeline[:2]] == ["burning budget", "opened"]
    assert [one.says for one in timeline[-2:]] == ["looked at it", "it is over"]
