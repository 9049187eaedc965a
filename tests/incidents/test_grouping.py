"""Alerts become incidents by their cause, each event once, whenever it is read."""

from datetime import timedelta
from typing import Any

import pytest

from tests.incidents.conftest import DAY, START, Ward
from treadle.events.tables import event_cursors
from treadle.incidents.tables import alerts, incidents
from treadle.jobs.model import JobEnded
from treadle.kernel.errors import Conflict
from treadle.monitoring.model import MonitorFailed
from treadle.monitoring.slo.model import AlertReceived
from treadle.scope.model import DataSource
from treadle.training.model import TrainingFailed, TrainingFinished, TrainingStarted


def received(number: int, status: str = "firing", **labels: str) -> AlertReceived:
    return AlertReceived(
        project="p",
        alert="Down",
        fingerprint=f"{number:x}",
        status=status,
        severity="critical",
        summary=f"host {number}",
        labels=labels,
        since=START,
    )


def test_findings_about_one_endpoint_are_one_incident(ward: Ward) -> None:
    first, _ = ward.window(0, drifts=True, misses=True)
    ward.react()
    incident = ward.only()
    assert (incident.id, incident.state, incident.severity) == (first, "open", "ticket")
    assert [alert.kind for alert in incident.alerts] == ["drift", "missed requirement"]
    assert incident.title == "1 column has moved, x most (PSI 0.4)"


def test_the_same_finding_again_is_counted(ward: Ward) -> None:
    for day in range(3):
        ward.window(day, drifts=True)
        ward.react()
    (alert,) = ward.only().alerts
    assert (alert.count, alert.since, alert.window) == (3, START, START + 2 * DAY)


def test_an_incident_ends_after_quiet_windows_and_not_before(ward: Ward) -> None:
    ward.window(0, drifts=True)
    ward.window(1)
    ward.react()
    assert ward.only().state == "open"
    ward.window(2)
    ward.react()
    incident = ward.only()
    assert (incident.state, incident.resolved_by) == ("resolved", "treadle")
    assert incident.resolved_at == START + 3 * DAY


def test_windows_that_show_nothing_end_nothing(ward: Ward) -> None:
    """A missed requirement on labelled rows ends by windows that measure the metric only."""
    ward.window(0, misses=True)
    for day in (1, 2):
        ward.window(day)
    from treadle.monitoring.tables import windows

    with ward.platform.database.write() as transaction:
        later = windows.c.start > START
        transaction.execute(windows.update().where(later).values(measures="[]"))
    ward.react()
    assert ward.only().state == "open"


def test_a_monitor_that_fails_on_labels_ends_by_windows_with_labels(ward: Ward) -> None:
    ward.declare(data={"rows": DataSource(source="rows.csv", label="y", label_delay="7d")})
    for day in range(9):
        ward.window(day)
    about: dict[str, Any] = {"endpoint": "p", "project": "p", "version": "p:1", "start": START}
    ward.clock.set(START + 8 * DAY)  # the labels of the first window have come
    ward.happens(MonitorFailed(**about, monitor="performance", reason="no memory"))
    ward.react()
    assert ward.only().state == "open"
    ward.clock.set(START + 10 * DAY)
    ward.react()
    assert ward.only().resolved_at == START + 10 * DAY


def test_what_comes_back_soon_is_opened_again(ward: Ward) -> None:
    ward.burns()
    ward.react()
    ward.recovers()
    ward.react()
    assert ward.only().state == "resolved"
    ward.clock.advance(timedelta(hours=23))
    ward.burns()
    ward.react()
    incident = ward.only()
    assert (incident.state, incident.times_opened) == ("open", 2)
    ward.recovers()
    ward.react()
    ward.clock.advance(timedelta(hours=25))
    ward.burns()
    ward.react()
    assert [one.state for one in ward.all()] == ["resolved", "open"]


def test_the_effects_of_a_finding_join_its_incident(ward: Ward) -> None:
    (drift,) = ward.window(0, drifts=True)
    ward.react()
    about: dict[str, Any] = {"run": "run_a", "project": "p"}
    started = TrainingStarted(**about, pipeline="pipeline_a", datasets={})
    ward.happens(started, cause=drift)
    ward.clock.advance(timedelta(hours=5))
    ward.happens(TrainingFailed(**about, error="out of memory"))  # nothing says what caused it
    job = JobEnded(job="job_a", kind="step", project="p", state="failed", attempts=1)
    ward.happens(job, cause=drift)
    ward.react()
    kinds = [alert.kind for alert in ward.only().alerts]
    assert kinds == ["drift", "failed training", "failed job"]


def test_what_failed_ends_when_it_succeeds(ward: Ward) -> None:
    about: dict[str, Any] = {"run": "run_a", "project": "p"}
    ward.happens(TrainingFailed(**about, error="out of memory"))
    ward.react()
    assert ward.only().state == "open"
    ward.happens(TrainingFinished(**about, package="a" * 64, holdout="b" * 64))
    ward.react()
    assert ward.only().state == "resolved"


def test_a_storm_is_one_incident(ward: Ward) -> None:
    for number in range(100):
        ward.happens(received(number))
    ward.react()
    incident = ward.only()
    assert (len(incident.alerts), incident.severity) == (100, "page")
    for number in range(100):
        ward.happens(received(number, "resolved"))
    ward.react()
    assert ward.only().state == "resolved"


def test_an_alert_that_was_sent_to_alertmanager_opens_nothing_when_it_comes_back(
    ward: Ward,
) -> None:
    ward.happens(received(1, treadle_incident="7"))
    ward.react()
    assert ward.all() == []


def test_severities_are_declared(ward: Ward) -> None:
    ward.declare(severity={"drift": "page", "missed requirement": "off"})
    ward.window(0, drifts=True, misses=True)
    ward.react()
    assert [alert.kind for alert in ward.only().alerts] == ["drift"]
    assert ward.only().severity == "page"


def test_people_resolve_what_goes_on_and_it_comes_back(ward: Ward) -> None:
    ward.window(0, drifts=True)
    ward.react()
    number = ward.only().id
    ward.incidents.acknowledge(incident=number)
    resolved = ward.incidents.resolve(incident=number, reason="known")
    assert resolved.state == "resolved" and resolved.firing == []
    with pytest.raises(Conflict, match="is resolved since"):
        ward.incidents.acknowledge(incident=number)
    ward.window(1, drifts=True)
    ward.react()
    incident = ward.only()
    assert (incident.state, incident.times_opened) == ("open", 2)
    assert incident.acknowledged_by == ""


def state(ward: Ward) -> Any:
    """All rows of incidents and alerts."""
    with ward.platform.database.read() as connection:
        return [
            [tuple(row) for row in connection.execute(table.select().order_by(*table.primary_key))]
            for table in (incidents, alerts)
        ]


def test_events_that_are_read_again_change_nothing(ward: Ward) -> None:
    ward.window(0, drifts=True, misses=True)
    ward.burns()
    ward.recovers()
    ward.window(1, drifts=True)
    ward.react()
    before, last = state(ward), ward.platform.events.last_number()
    for _ in range(3):
        with ward.platform.database.write() as transaction:
            transaction.execute(event_cursors.update().values(number=0))
        ward.react()
    assert state(ward) == before
    assert ward.platform.events.last_number() == last
