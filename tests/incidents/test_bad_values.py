"""One bad value stops neither the incidents nor the messages of anybody else."""

import json
import logging
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.incidents.conftest import START, Ward
from tests.incidents.sinks import HttpSink
from tests.incidents.test_telling import pass_time, sink, told
from treadle.incidents import grouping
from treadle.incidents.records import write_alert
from treadle.kernel.errors import Invalid
from treadle.monitoring.slo.model import AlertReceived
from treadle.scope.alerting import NotifyRoute
from treadle.scope.calendars import calendar
from treadle.scope.tables import projects

__all__ = ["sink"]


def received(project: str, fingerprint: str = "a", **facts: Any) -> AlertReceived:
    given: dict[str, Any] = {
        "alert": "Down",
        "status": "firing",
        "severity": "page",
        "summary": "",
        "labels": {},
    }
    given |= {"since": START} | facts
    return AlertReceived(project=project, fingerprint=fingerprint, **given)


@pytest.mark.parametrize("name", ["join", "reopen", "wait", "after", "every"])
def test_durations_are_those_of_calendars(ward: Ward, name: str) -> None:
    for text, is_too_long in (("3650d", False), ("3651d", True), ("999999d", True)):
        policy: dict[str, Any] = {} if name in ("after", "every") else {name: text}
        told: dict[str, Any] = {} if policy else {name: text}
        route = NotifyRoute(to="https://example.com", **told)
        if is_too_long:
            with pytest.raises(Invalid, match=f"{name}': '{text}' is longer than 3650d"):
                ward.declare(route, **policy)
        else:
            ward.declare(route, **policy)


def stored(ward: Ward, project: str, table: str, **values: str) -> None:
    """A declaration has values that an older version took."""
    own = projects.c.name == project
    with ward.platform.database.write() as transaction:
        spec = json.loads(transaction.scalar(select(projects.c.spec).where(own)) or "")
        (spec[table][0] if table == "notify" else spec.setdefault(table, {})).update(values)
        transaction.execute(update(projects).where(own).values(spec=json.dumps(spec)))


@pytest.mark.parametrize(
    ("table", "name"),
    [("incidents", "join"), ("incidents", "wait"), ("notify", "after"), ("notify", "during")],
)
def test_a_bad_declaration_holds_up_no_other_project(
    ward: Ward, sink: HttpSink, table: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    for project in ("bad", "p"):
        ward.declare(NotifyRoute(to=f"{sink.url}/{project}"), name=project)
    stored(ward, "bad", table, **{name: "999999d"})
    number = ward.happens(received("bad"))
    ward.happens(received("p"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            pass_time(ward, minutes=1)
    assert [path for path, _, _ in sink.got] == ["/p"] and told(sink) == ["opened"]
    about = f"event {number} could not be taken" if name == "join" else "about project 'bad'"
    assert [record for record in caplog.messages if about in record] == caplog.messages[:1]


def test_what_cannot_be_looked_at_ends_nothing_and_holds_up_nothing(
    ward: Ward, caplog: pytest.LogCaptureFixture
) -> None:
    ward.window(0, misses=True)
    ward.react()
    ward.window(1)
    ward.window(2)
    source = {"source": "rows.csv", "label": "y", "label_delay": "a while"}
    stored(ward, "p", "data", rows=source)  # type: ignore[arg-type]
    ward.burns()
    ward.react()
    kinds = [alert.kind for incident in ward.all() for alert in incident.firing]
    assert kinds == ["missed requirement", "burning budget"]
    assert "the end of an alert of incident" in caplog.text


def test_the_next_period_is_found_also_where_the_clocks_skip_one() -> None:
    after_it = datetime.fromisoformat("2026-03-22T03:00:00+01:00")
    found = calendar("Sun 02:15-02:45 Europe/Berlin").next(after_it)
    assert found == datetime.fromisoformat("2026-04-05T02:15:00+02:00")


def test_what_comes_from_outside_is_written_visibly(ward: Ward) -> None:
    ward.declare(runbook="run\0book")
    ward.happens(received("p", summary="a\0b\x1b[2J", labels={"endpoint": "p\0"}))
    ward.react()
    (alert,) = ward.only().alerts
    assert ward.only().title == alert.says == r"Down: a\x00b\x1b[2J"
    assert alert.runbook == r"run\x00book"


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_of_no_clock_is_read_again(ward: Ward, since: str) -> None:
    ward.happens(received("p", since=datetime.fromisoformat(since)))
    ward.react()
    (alert,) = ward.only().alerts
    assert alert.since <= ward.clock.now() - timedelta(minutes=1)
    assert ward.platform.reviews.draft(incident=ward.only().id).incident == ward.only()


def test_an_event_that_breaks_half_way_leaves_nothing(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaking(*given: Any, **named: Any) -> None:
        write_alert(*given, **named)
        if given[2].says == "Down: breaks":
            raise ZeroDivisionError

    monkeypatch.setattr(grouping, "write_alert", breaking)
    number = ward.happens(received("p", "a", summary="breaks"))
    ward.happens(received("p", "b", summary="holds"))
    ward.react()
    assert [alert.says for alert in ward.only().alerts] == ["Down: holds"]
    assert ward.only().title == "Down: holds"
    assert f"event {number} could not be taken" in caplog.text
