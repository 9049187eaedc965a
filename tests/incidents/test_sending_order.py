"""Nothing is told that is not so any more, and no route waits for another."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.incidents.conftest import START, Ward
from tests.incidents.sinks import HttpSink
from tests.incidents.test_telling import pass_time, sink, told, wait_for_senders
from treadle.incidents import outbox
from treadle.scope.alerting import NotifyRoute

__all__ = ["sink"]


def fail(ward: Ward, sink: HttpSink) -> None:
    """What is told next is not taken, several times."""
    sink.status = 503
    for _ in range(6):
        pass_time(ward, minutes=4)
    sink.status = 200
    sink.got.clear()


def pass_a_day(ward: Ward) -> None:
    for _ in range(12):
        pass_time(ward, hours=2)


def test_what_was_not_taken_is_not_told_after_the_end(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    fail(ward, sink)
    ward.recovers()
    pass_a_day(ward)
    assert told(sink) == ["resolved"]  # it may have arrived that there was an incident
    messages = ward.incidents.messages(incident=ward.only().id)
    assert {one.change: one.state for one in messages} == {
        "opened": "cancelled",
        "resolved": "sent",
    }


def test_an_end_is_not_told_after_it_has_come_back(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url))
    ward.burns()
    pass_time(ward, minutes=1)
    ward.recovers()
    fail(ward, sink)
    ward.burns()
    pass_a_day(ward)
    assert told(sink) == ["reopened"]


def test_an_end_is_told_where_what_has_come_back_is_not(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url, severity=["page"]))
    ward.happens(ward.drift(START))  # for information only
    ward.burns()
    pass_time(ward, minutes=1)
    number = ward.only().id
    ward.incidents.resolve(incident=number)
    fail(ward, sink)
    ward.happens(ward.drift(START))
    pass_a_day(ward)
    assert (ward.only().times_opened, told(sink)) == (2, ["resolved"])


def test_nobody_is_called_for_what_is_attended_to_meanwhile(ward: Ward, sink: HttpSink) -> None:
    ward.declare(NotifyRoute(to=sink.url, after="1m"))
    ward.burns()
    fail(ward, sink)
    ward.incidents.acknowledge(incident=ward.only().id)
    pass_a_day(ward)
    assert told(sink) == ["acknowledged"]


class Blocked:
    """A receiver that answers when it is told to."""

    def __init__(self) -> None:
        self.answers = threading.Event()

    def send(self, _: Any) -> None:
        self.answers.wait(20)


@contextmanager
def blocked() -> Iterator[Blocked]:
    one = Blocked()
    try:
        yield one
    finally:
        one.answers.set()
        wait_for_senders()


def test_a_dead_route_holds_up_no_other(
    ward: Ward, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "AT_ONCE", 2)
    healthy = ward.incidents._open_notifier
    ward.declare(
        NotifyRoute(to="https://dead", severity=["page"]),
        NotifyRoute(to=sink.url, after="2m"),
    )
    for endpoint in ("a", "b", "c", "d"):
        ward.burns(endpoint=endpoint)
    with blocked() as dead:
        monkeypatch.setattr(
            ward.incidents,
            "_open_notifier",
            lambda to, key: dead if to == "https://dead" else healthy(to, key),
        )
        for _ in range(4):
            ward.clock.advance(timedelta(minutes=1))
            while ward.incidents.react():
                pass
            ward.incidents.tell()
            for thread in ward.incidents._outbox._sending.values():
                thread.join(0.3)
        assert told(sink) == ["opened"] * 4
