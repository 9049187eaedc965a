"""Shows incidents, and takes what people do about them."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, true

from treadle.delivery.local import LocalDelivery
from treadle.events.local import LocalEvents
from treadle.incidents.hooks import DECIDED
from treadle.incidents.model import (
    Incident,
    IncidentAcknowledged,
    IncidentNoted,
    IncidentResolved,
    IncidentRoleAssigned,
    IncidentState,
    Message,
    Outcome,
    Silence,
    SilenceEnded,
    SilenceMade,
    TimelineEntry,
)
from treadle.incidents.notices import sample_notice
from treadle.incidents.records import (
    read_incident,
    read_incidents,
    read_messages,
    read_silences,
    write_alert,
    write_incident,
)
from treadle.incidents.silencing import with_silences
from treadle.incidents.tables import incidents, silences
from treadle.incidents.timeline import timeline_of
from treadle.kernel.clock import Clock
from treadle.kernel.entity import fields, replace
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import EndpointName, IncidentId, ProjectName, SilenceId
from treadle.kernel.operation import command, query
from treadle.kernel.stage import Assembly
from treadle.monitoring.local import LocalMonitoring
from treadle.ports.database import Database, in_sight
from treadle.ports.notifier import OpenNotifier
from treadle.scope.alerting import AlertKind, NotifyRoute, Severity, shown
from treadle.scope.local import LocalScope

LONGEST_NOTE = 10_000
LONGEST_NAME = 200


class Incidents:
    """Incidents: alerts with one cause, who attends to them, and who is told.

    Args:
        database: Where incidents are kept.
        events: The event log that alerts come from.
        clock: Source of time.
        assembly: Knows who decides about events.
        scope: Knows what each project declares.
        delivery: Knows which endpoints belong to which project.
        monitoring: Knows the windows that end alerts.
        open_notifier: Gives the notifier of an address.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        assembly: Assembly,
        scope: LocalScope,
        delivery: LocalDelivery,
        monitoring: LocalMonitoring,
        open_notifier: OpenNotifier,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._assembly, self._scope, self._monitoring = assembly, scope, monitoring
        self._delivery, self._open_notifier = delivery, open_notifier

    @query()
    def find(
        self,
        *,
        project: ProjectName | None = None,
        endpoint: EndpointName | None = None,
        state: IncidentState | None = None,
        limit: int = 50,
    ) -> list[Incident]:
        """List incidents: those that are not resolved first, the most urgent of them first.

        Args:
            project: List only those of this project.
            endpoint: List only those about this endpoint.
            state: List only those in this state.
            limit: How many to list at most.
        """
        where = in_sight(incidents.c.project)
        for column, value in (("project", project), ("endpoint", endpoint), ("state", state)):
            if value is not None:
                where &= incidents.c[column] == value
        order = (
            incidents.c.state == "resolved",
            incidents.c.severity != "page",
            incidents.c.severity == "info",
            incidents.c.id.desc(),
        )
        with self._database.read() as connection:
            found = read_incidents(connection, where, *order, limit=max(0, min(limit, 1000)))
            return self._with_silences(connection, found)

    @query()
    def get(self, *, incident: IncidentId) -> Incident:
        """Return an incident with its alerts.

        Args:
            incident: The incident's number.

        Raises:
            NotFound: There is no such incident.
        """
        with self._database.read() as connection:
            return self._with_silences(connection, [read_incident(connection, incident)])[0]

    @query()
    def timeline(self, *, incident: IncidentId) -> list[TimelineEntry]:
        """Tell what happened in the course of an incident, from the event log.

        That is what its alerts said, what the loop did or why not, trainings, rollouts, approvals
        and labels that came, and what people did.

        Args:
            incident: The incident's number.

        Raises:
            NotFound: There is no such incident.
        """
        asked = [found.method for found in self._assembly.answers(DECIDED)]
        return timeline_of(self.get(incident=incident), self._events, asked)

    @query()
    def messages(self, *, incident: IncidentId) -> list[Message]:
        """List what people were told of an incident by which route, and what could not be sent.

        Args:
            incident: The incident's number.

        Raises:
            NotFound: There is no such incident.
        """
        with self._database.read() as connection:
            read_incident(connection, incident)
            return read_messages(connection, [incident]).get(incident, [])

    @command()
    def acknowledge(self, *, incident: IncidentId) -> Incident:
        """Say that you attend to an incident: nobody else is called, and no reminder is sent.

        Args:
            incident: The incident's number.

        Raises:
            NotFound: There is no such incident.
            Conflict: It is resolved.
        """

        def acknowledged(transaction: Connection, before: Incident) -> Incident:
            _refuse_resolved(before)
            if before.state == "acknowledged":
                return before
            told = IncidentAcknowledged(incident=incident, project=before.project)
            self._events.append(transaction, told)
            by, now = current_act().actor[:LONGEST_NAME], self._clock.now()
            return replace(before, state="acknowledged", acknowledged_by=by, acknowledged_at=now)

        return self._changed(incident, acknowledged)

    @command()
    def assign(self, *, incident: IncidentId, role: str, person: str) -> Incident:
        """Give somebody a role in an incident.

        Args:
            incident: The incident's number.
            role: The role, such as lead or scribe.
            person: Who has it; empty for nobody any more.

        Raises:
            NotFound: There is no such incident.
            Invalid: The role has no name, or a name is too long.
        """
        refuse_text(role, "role", LONGEST_NAME)
        if person:
            refuse_text(person, "person", LONGEST_NAME)

        def assigned(transaction: Connection, before: Incident) -> Incident:
            roles = {**before.roles, role: person}
            told = IncidentRoleAssigned(
                incident=incident, project=before.project, role=role, person=person
            )
            self._events.append(transaction, told)
            return replace(before, roles={name: who for name, who in roles.items() if who})

        return self._changed(incident, assigned)

    @command()
    def note(self, *, incident: IncidentId, text: str) -> Incident:
        """Write a note to an incident; it is part of the timeline.

        Args:
            incident: The incident's number.
            text: The note.

        Raises:
            NotFound: There is no such incident.
            Invalid: The note is empty or too long.
        """
        refuse_text(text, "text", LONGEST_NOTE)

        def noted(transaction: Connection, before: Incident) -> Incident:
            told = IncidentNoted(incident=incident, project=before.project, text=text)
            self._events.append(transaction, told)
            return before

        return self._changed(incident, noted)

    @command()
    def resolve(self, *, incident: IncidentId, reason: str = "") -> Incident:
        """Resolve an incident, whether its alerts have ended or not.

        It is opened again when one of its alerts comes again within the declared time.

        Args:
            incident: The incident's number.
            reason: Why it is over.

        Raises:
            NotFound: There is no such incident.
            Conflict: It is resolved already.
            Invalid: The reason is too long.
        """
        refuse_text(reason or "-", "reason", LONGEST_NOTE)

        def resolved(transaction: Connection, before: Incident) -> Incident:
            _refuse_resolved(before)
            now = self._clock.now()
            for alert in before.firing:
                write_alert(transaction, incident, replace(alert, cleared_at=now))
            told = IncidentResolved(
                incident=incident, project=before.project, reason=reason, at=now
            )
            self._events.append(transaction, told)
            by = current_act().actor[:LONGEST_NAME]
            return replace(before, state="resolved", resolved_at=now, resolved_by=by)

        return self._changed(incident, resolved)

    @command()
    def silence(
        self,
        *,
        project: ProjectName,
        until: datetime,
        endpoint: EndpointName | None = None,
        kind: AlertKind | None = None,
        severity: Severity | None = None,
        reason: str = "",
    ) -> Silence:
        """Tell nobody of some incidents until a moment; they are opened and listed all the same.

        Args:
            project: The project whose incidents are silenced.
            until: When people are told again, such as 2026-03-01T08:00:00Z.
            endpoint: Silence only alerts about this endpoint.
            kind: Silence only alerts of this kind.
            severity: Silence only alerts of this severity.
            reason: Why.

        Raises:
            Invalid: The moment has passed, or the reason is too long.
        """
        now = self._clock.now()
        if until <= now:
            raise Invalid(f"Field 'until': {until.isoformat()} has passed. Name a later moment.")
        refuse_text(reason or "-", "reason", LONGEST_NOTE)
        made = Silence(
            id=new_id("silence"),
            project=project,
            endpoint=endpoint or "",
            kind=kind or "",
            severity=severity or "",
            until=until,
            reason=reason,
            by=current_act().actor[:LONGEST_NAME],
            created_at=now,
        )
        told = {k: v for k, v in fields(made).items() if k not in ("id", "by", "created_at")}
        with self._database.write() as transaction:
            transaction.execute(silences.insert().values(fields(made)))
            self._events.append(transaction, SilenceMade(silence=made.id, **told))
        return made

    @query()
    def silences(self, *, project: ProjectName | None = None) -> list[Silence]:
        """List silences that hold now, those that end first before others.

        Args:
            project: List only those of this project.
        """
        where = in_sight(silences.c.project) & (silences.c.until > self._clock.now())
        where &= silences.c.project == project if project is not None else true()
        with self._database.read() as connection:
            return read_silences(connection, where)

    @command()
    def end_silence(self, *, silence: SilenceId) -> None:
        """End a silence before its time.

        Args:
            silence: The silence's id.

        Raises:
            NotFound: There is no such silence, or it has ended.
        """
        own: ColumnElement[bool] = silences.c.id == silence
        with self._database.write() as transaction:
            found = read_silences(transaction, own & (silences.c.until > self._clock.now()))
            if not found:
                raise NotFound(f"There is no silence '{silence}' that holds.")
            changed = silences.update().where(own).values(until=self._clock.now())
            transaction.execute(changed)
            ended = SilenceEnded(silence=silence, project=found[0].project)
            self._events.append(transaction, ended)

    @command()
    def test_routes(self, *, project: ProjectName) -> list[Outcome]:
        """Send a test message by each route of a project now, whatever its hours are.

        Args:
            project: The project's name.

        Raises:
            NotFound: There is no such project.
        """
        routes = self._scope.project(name=project).spec.notify
        return [self._tested(project, route) for route in routes]

    def _tested(self, project: str, route: NotifyRoute) -> Outcome:
        notice = sample_notice(project, id=new_id("message"), at=self._clock.now())
        error = ""
        try:
            self._open_notifier(route.to, route.secret).send(notice)
        except TreadleError as trouble:
            error = trouble.message
        return Outcome(route=shown(route.to), sent=not error, error=error)

    def _changed(self, id: int, change: Callable[[Connection, Incident], Incident]) -> Incident:
        """Change an incident in one transaction."""
        with self._database.write() as transaction:
            before = read_incident(transaction, id)
            after = change(transaction, before)
            if after is not before:
                write_incident(transaction, after)
        return self.get(incident=id)

    def _with_silences(self, connection: Connection, found: list[Incident]) -> list[Incident]:
        now = self._clock.now()
        return with_silences(found, read_silences(connection, silences.c.until > now), now)


def _refuse_resolved(incident: Incident) -> None:
    if incident.state == "resolved":
        raise Conflict(f"Incident {incident.id} is resolved since {incident.resolved_at}.")


def refuse_text(text: str, field: str, longest: int) -> None:
    """Refuse text that is empty or too long.

    Args:
        text: The text.
        field: What it is, in the error's message.
        longest: Characters that it may have.

    Raises:
        Invalid: It is empty or longer.
    """
    if not text.strip() or len(text) > longest:
        raise Invalid(f"Field '{field}': write 1 to {longest:,} characters.")
