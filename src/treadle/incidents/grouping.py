"""Opens, grows and ends incidents from events, each event once.

All times are those of the events, so that events that are read late give the same incidents.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, true
from sqlalchemy.exc import OperationalError

from treadle.events.local import LocalEvents
from treadle.events.model import EventRecord
from treadle.incidents.model import (
    Alert,
    Incident,
    IncidentGrew,
    IncidentOpened,
    IncidentReopened,
    IncidentResolved,
)
from treadle.incidents.quiet import ONE_OFF, TOLD, ended_at, needs_labels
from treadle.incidents.records import read_incidents, write_alert, write_incident
from treadle.incidents.signals import SEVERITY, Signal, removed_endpoint, signal_of
from treadle.incidents.tables import alerts, incidents
from treadle.kernel.clock import EPOCH, duration
from treadle.kernel.entity import replace
from treadle.kernel.escaping import visible
from treadle.kernel.event import acting
from treadle.monitoring.findings import KINDS
from treadle.monitoring.model import Window
from treadle.ports.database import load
from treadle.scope.alerting import SEVERITIES, IncidentPolicy, Severity
from treadle.scope.model import ProjectSpec

BY_ITSELF = "treadle"
"""Who resolves an incident whose alerts have all ended."""
LONGEST_TEXT = 500
MOST_LATER = 1000
"""Findings that are looked through for one that is read later."""
QUIET = "its alerts have not come again"
_OWN_SUBJECT = ("run:", "job:")
"""Subjects whose first event leads to what caused them, also where a later one has no cause."""
log = logging.getLogger(__name__)


class Grouping:
    """Incidents within one write transaction.

    Args:
        transaction: The transaction.
        events: The event log.
        spec_of: Gives the declaration of a project, or None.
        windows_of: Gives the windows of an endpoint after a moment, the oldest first.
        is_of: Whether an endpoint belongs to a project.
    """

    def __init__(
        self,
        transaction: Connection,
        events: LocalEvents,
        spec_of: Callable[[str | None], ProjectSpec | None],
        windows_of: Callable[[str, datetime], Iterable[Window]],
        is_of: Callable[[str, str], bool],
    ) -> None:
        self._transaction, self._events = transaction, events
        self._spec_of, self._windows_of, self._is_of = spec_of, windows_of, is_of

    def take(self, record: EventRecord) -> None:
        """Let an event open, grow or end incidents.

        One that raises something unexpected changes nothing: it is logged, and holds up no other.

        Args:
            record: The event.

        Raises:
            Exception: The database does not answer; the event has to be taken again.
        """
        try:
            with self._transaction.begin_nested():
                self._take(record)
        except Exception as error:
            if may_succeed_later(error):
                raise
            log.exception("event %d could not be taken, and changes no incident", record.number)

    def _take(self, record: EventRecord) -> None:
        with acting(BY_ITSELF, cause=record.number):
            if endpoint := removed_endpoint(record):
                self._end_all(record, endpoint)
            signal = signal_of(record)
            if signal is None:
                return
            self.settle(record.at, incidents.c.project == record.project)
            severity = self._severity(record.project, signal)
            if severity != "off" and signal.raised:
                self._raise(record, signal, severity)
            elif not signal.raised:
                self._end(record, signal)

    def settle(self, moment: datetime, which: ColumnElement[bool] | None = None) -> int:
        """End alerts that have been quiet for long enough by a moment.

        Args:
            moment: The present time, or that of an event that is taken.
            which: The incidents that are looked at; all if omitted.

        Returns:
            How many have ended.
        """
        firing = (
            select(alerts, incidents.c.project)
            .join(incidents, incidents.c.id == alerts.c.incident)
            .where(alerts.c.cleared_at.is_(None), alerts.c.kind.not_in(TOLD))
            .where(true() if which is None else which)
            .order_by(alerts.c.incident, alerts.c.key)
        )
        ended = 0
        for row in self._transaction.execute(firing).mappings().all():
            alert = load(Alert, row)
            ended += self._end_if_quiet(row["incident"], row["project"], alert, moment)
        return ended

    def _end_if_quiet(
        self, incident: int, project: str | None, alert: Alert, moment: datetime
    ) -> bool:
        """End an alert that was quiet for long enough by a moment."""
        try:
            end = self._quiet_end(project, alert, moment)
        except Exception as error:
            if may_succeed_later(error):
                raise
            log.exception("the end of an alert of incident %d could not be looked for", incident)
            return False
        if end is None:
            return False
        write_alert(self._transaction, incident, replace(alert, cleared_at=end))
        with acting(BY_ITSELF, cause=alert.last_event):
            self._resolve_if_over(incident, QUIET)
        return True

    def _quiet_end(self, project: str | None, alert: Alert, moment: datetime) -> datetime | None:
        """When an alert was quiet for long enough; None where it was not by a moment."""
        spec = self._spec_of(project)
        if alert.window is None:
            return ended_at(alert, spec, (), moment)
        end = ended_at(alert, spec, self._windows_of(alert.endpoint, alert.window), moment)
        if end is not None:  # findings that are read later are not silence
            shown = self._shown_later(project, alert)
            windows = self._windows_of(alert.endpoint, alert.window)
            quiet = (window for window in windows if window.start not in shown)
            end = ended_at(alert, spec, quiet, moment)
        return end

    def _shown_later(self, project: str | None, alert: Alert) -> set[datetime]:
        """Starts of windows that show an alert in events which were not taken yet."""
        types = [name for name, kind in KINDS.items() if kind == alert.kind]
        later = self._events.history(
            type=types[0], project=project, after=alert.last_event, limit=MOST_LATER
        )
        signals = [signal for record in later if (signal := signal_of(record))]
        return {one.window for one in signals if one.key == alert.key and one.window}

    def _severity(self, project: str | None, signal: Signal) -> Severity | str:
        spec = self._spec_of(project)
        declared = spec.incidents.severity.get(signal.kind) if spec else None
        return declared or signal.severity or SEVERITY[signal.kind]

    def _raise(self, record: EventRecord, signal: Signal, severity: str) -> None:
        level = next(one for one in SEVERITIES if one == severity)
        known = self._newest(record.project, signal.key)
        if known and known[1].last_event >= record.number:
            return  # the event was taken already
        incident = self._home(record, signal, known[0] if known else None)
        before = known[1] if known and incident and known[0].id == incident.id else None
        alert = self._alert(record, signal, level, before)
        if incident is None:
            self._open(record, alert)
            return
        write_alert(self._transaction, incident.id, alert)
        grown = replace(
            incident,
            severity=max(incident.severity, level, key=SEVERITIES.index),
            last_at=max(incident.last_at, record.at),
        )
        if incident.state == "resolved":
            self._reopen(grown, alert)
            return
        write_incident(self._transaction, grown)
        if before is None or before.cleared_at is not None:
            self._events.append(self._transaction, IncidentGrew(**_told(grown, alert)))

    def _home(self, record: EventRecord, signal: Signal, last: Incident | None) -> Incident | None:
        """The incident that an alert belongs to: its own, that of its cause, or one nearby.

        What has been resolved meanwhile plays no part but for its own: an event that is read late
        then finds the same incident as one that is read at once.
        """
        policy = self._policy(record.project)
        if last and last.state != "resolved":
            return last
        if last and last.resolved_at and record.at - last.resolved_at <= duration(policy.reopen):
            return last
        of_cause = self._of_cause(record, record.at - duration(policy.reopen))
        return of_cause or self._nearby(record, signal, record.at - duration(policy.join))

    def _of_cause(self, record: EventRecord, since: datetime) -> Incident | None:
        """The incident that has grown since a moment and has an alert that led to an event."""
        chain = self._events.causes(number=record.number)[1:]
        if record.subject.startswith(_OWN_SUBJECT):
            first = self._events.history(subject=record.subject, limit=1)
            chain += self._events.causes(number=first[0].number) if first else []
        for cause in chain:
            signal = signal_of(cause)
            known = self._newest(record.project, signal.key) if signal else None
            if known and known[0].last_at >= since:
                return known[0]
        return None

    def _nearby(self, record: EventRecord, signal: Signal, since: datetime) -> Incident | None:
        """The incident about the same endpoint that has grown since a moment."""
        near = incidents.c.project == record.project
        endpoint = self._endpoint(record.project, signal)
        near &= (incidents.c.endpoint == endpoint) & (incidents.c.last_at >= since)
        found = read_incidents(self._transaction, near, limit=1, with_alerts=False)
        return found[0] if found else None

    def _endpoint(self, project: str | None, signal: Signal) -> str:
        """The endpoint that an alert is about; what comes from outside may name any text."""
        if signal.kind != "alert":
            return signal.endpoint
        own = project is not None and self._is_of(signal.endpoint, project)
        return signal.endpoint if own else ""

    def _newest(self, project: str | None, key: str) -> tuple[Incident, Alert] | None:
        """The newest incident that an alert was part of, and the alert."""
        wanted = (
            select(alerts)
            .join(incidents, incidents.c.id == alerts.c.incident)
            .where(alerts.c.key == key, incidents.c.project == project)
            .order_by(alerts.c.last_event.desc(), alerts.c.incident.desc())
            .limit(1)
        )
        row = self._transaction.execute(wanted).mappings().one_or_none()
        if row is None:
            return None
        return self._incident(row["incident"]), load(Alert, row)

    def _incident(self, id: int) -> Incident:
        own = incidents.c.id == id
        return read_incidents(self._transaction, own, with_alerts=False)[0]

    def _alert(
        self, record: EventRecord, signal: Signal, severity: Severity, before: Alert | None
    ) -> Alert:
        spec = self._spec_of(record.project)
        holds = before is not None and before.cleared_at is None
        window, labelled = signal.window, signal.labelled
        if signal.kind in ("finding", "failed monitor") and window is not None:
            labelled = needs_labels(record.at, window, spec)
        return Alert(
            key=signal.key,
            kind=signal.kind,
            endpoint=self._endpoint(record.project, signal),
            severity=severity,
            says=visible(" ".join(signal.says.split()))[:LONGEST_TEXT],
            count=1 + (before.count if before else 0),
            first_event=before.first_event if before else record.number,
            last_event=record.number,
            first_at=before.first_at if before else record.at,
            last_at=record.at,
            since=before.since if before and holds else _within(signal.since, record.at),
            window=window,
            metric=signal.metric,
            labelled=labelled,
            runbook=_runbook(spec, signal),
            cleared_at=None,
        )

    def _open(self, record: EventRecord, alert: Alert) -> None:
        incident = Incident(
            id=record.number,
            project=record.project,
            endpoint=alert.endpoint,
            title=alert.says,
            severity=alert.severity,
            state="open",
            opened_at=record.at,
            times_opened=1,
            began_at=record.at,
            last_at=record.at,
            acknowledged_at=None,
            acknowledged_by="",
            resolved_at=None,
            resolved_by="",
            roles={},
            alerts=[],
        )
        write_incident(self._transaction, incident, new=True)
        write_alert(self._transaction, incident.id, alert)
        self._events.append(self._transaction, IncidentOpened(**_told(incident, alert)))

    def _reopen(self, incident: Incident, alert: Alert) -> None:
        again = replace(
            incident,
            state="open",
            severity=alert.severity,
            times_opened=incident.times_opened + 1,
            began_at=alert.last_at,
            acknowledged_at=None,
            acknowledged_by="",
            resolved_at=None,
            resolved_by="",
        )
        write_incident(self._transaction, again)
        self._events.append(self._transaction, IncidentReopened(**_told(again, alert)))

    def _end(self, record: EventRecord, signal: Signal) -> None:
        """End an alert that an event says is over."""
        known = self._newest(record.project, signal.key)
        if known is None or known[1].last_event >= record.number:
            return
        incident, alert = known
        ended = replace(alert, last_event=record.number, cleared_at=alert.cleared_at or record.at)
        write_alert(self._transaction, incident.id, ended)
        reason = "what had failed has succeeded" if alert.kind in ONE_OFF else "its alerts ended"
        self._resolve_if_over(incident.id, reason)

    def _end_all(self, record: EventRecord, endpoint: str) -> None:
        """End the alerts about an endpoint that was removed."""
        about = (alerts.c.endpoint == endpoint) & alerts.c.cleared_at.is_(None)
        about &= alerts.c.last_event < record.number
        found = self._transaction.execute(select(alerts).where(about)).mappings().all()
        for row in found:
            ended = replace(load(Alert, row), cleared_at=record.at)
            write_alert(self._transaction, row["incident"], ended)
        for incident in sorted({row["incident"] for row in found}):
            self._resolve_if_over(incident, f"endpoint '{endpoint}' was removed")

    def _resolve_if_over(self, id: int, reason: str) -> None:
        """Resolve an incident whose alerts have all ended."""
        own = alerts.c.incident == id
        holding = select(func.count()).where(own, alerts.c.cleared_at.is_(None))
        incident = self._incident(id)
        if incident.state == "resolved" or self._transaction.scalar(holding):
            return
        ends = self._transaction.scalars(select(alerts.c.cleared_at).where(own)).all()
        end = max(ends)
        over = replace(incident, state="resolved", resolved_at=end, resolved_by=BY_ITSELF)
        write_incident(self._transaction, over)
        told = IncidentResolved(incident=id, project=incident.project, reason=reason, at=end)
        self._events.append(self._transaction, told)

    def _policy(self, project: str | None) -> IncidentPolicy:
        spec = self._spec_of(project)
        return spec.incidents if spec else IncidentPolicy()


def _told(incident: Incident, alert: Alert) -> dict[str, Any]:
    """What events tell of an alert of an incident."""
    return {
        "incident": incident.id,
        "project": incident.project,
        "endpoint": alert.endpoint,
        "severity": alert.severity,
        "kind": alert.kind,
        "says": alert.says,
    }


def _runbook(spec: ProjectSpec | None, signal: Signal) -> str:
    """What to do about an alert: that of its requirement, else the project's."""
    if spec is None:
        return ""
    own = [one.runbook for one in spec.requirement if one.id == signal.requirement]
    return visible(next(filter(None, own), "") or spec.incidents.runbook)


def _within(moment: datetime, now: datetime) -> datetime:
    """A moment that came from outside, as one between 1970 and now."""
    return min(max(moment, EPOCH), now)


def may_succeed_later(error: Exception) -> bool:
    """Whether what was interrupted by an error may succeed when it is tried again.

    Args:
        error: The error.
    """
    names = ("retry", "connection_invalidated")  # of Treadle's errors, and of SQLAlchemy's
    return isinstance(error, OperationalError) or any(getattr(error, name, 0) for name in names)
