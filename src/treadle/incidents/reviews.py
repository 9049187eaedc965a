"""Drafts an incident's review from facts, and takes what people add to it."""

from collections.abc import Callable
from datetime import datetime

from treadle.events.local import LocalEvents
from treadle.incidents.model import (
    FollowUp,
    FollowUpAdded,
    FollowUpDone,
    Incident,
    IncidentReviewed,
    Review,
)
from treadle.incidents.records import ReviewNotes, read_incident, read_notes, write_notes
from treadle.incidents.service import LONGEST_NOTE, Incidents, refuse_text
from treadle.incidents.timeline import causes_of
from treadle.kernel.clock import Clock
from treadle.kernel.entity import replace
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.event import Event
from treadle.kernel.names import IncidentId
from treadle.kernel.operation import command, query
from treadle.monitoring.local import LocalMonitoring
from treadle.monitoring.slo.local import LocalSlos
from treadle.ports.database import Database

MOST_FOLLOW_UPS = 200


class Reviews:
    """Reviews of incidents, drafted from facts.

    Args:
        database: Where they are kept.
        events: The event log that causes are read from.
        clock: Source of time.
        incidents: Knows the incidents and their course.
        monitoring: Knows how many predictions were answered.
        slo: Knows what was spent of error budgets.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        incidents: Incidents,
        monitoring: LocalMonitoring,
        slo: LocalSlos,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._incidents, self._monitoring, self._slo = incidents, monitoring, slo

    @query(reads_rows=True)
    def draft(self, *, incident: IncidentId) -> Review:
        """Draft an incident's review: impact, times, causes, what the loop did, follow-ups.

        Args:
            incident: The incident's number.

        Raises:
            NotFound: There is no such incident.
        """
        found = self._incidents.get(incident=incident)
        with self._database.read() as connection:
            notes = read_notes(connection, incident)
        began, end = _trouble_since(found), found.resolved_at or self._clock.now()
        about = self._endpoint(found)
        return Review(
            incident=found,
            detected_after_seconds=_seconds(began, found.opened_at) or 0.0,
            acknowledged_after_seconds=_seconds(found.began_at, found.acknowledged_at),
            resolved_after_seconds=_seconds(found.opened_at, found.resolved_at),
            answered=self._monitoring.answered(about, found.opened_at, end) if about else None,
            budgets=self._slo.spent(about, found.opened_at, end) if about else [],
            causes=causes_of(found, self._events),
            timeline=self._incidents.timeline(incident=incident),
            follow_ups=notes.follow_ups,
            aligned=notes.aligned,
            summary=notes.summary,
            closed=notes.closed,
        )

    def _endpoint(self, incident: Incident) -> str:
        """The endpoint that an incident is about, where it is, or was, one of its project."""
        about = f"endpoint:{incident.endpoint}"
        told = self._events.history(subject=about, newest_first=True, limit=1)
        own = incident.project is not None and [one.project for one in told] == [incident.project]
        return incident.endpoint if own else ""

    @command()
    def add_follow_up(self, *, incident: IncidentId, text: str) -> list[FollowUp]:
        """Add something that is to be done after an incident.

        Args:
            incident: The incident's number.
            text: What is to be done.

        Returns:
            All follow-ups of the incident.

        Raises:
            NotFound: There is no such incident.
            Invalid: The text is empty or too long, or there are too many follow-ups.
        """
        refuse_text(text, "text", LONGEST_NOTE)

        def added(found: Incident, notes: ReviewNotes) -> tuple[ReviewNotes, Event]:
            if len(notes.follow_ups) >= MOST_FOLLOW_UPS:
                raise Invalid(f"An incident has {MOST_FOLLOW_UPS} follow-ups at most.")
            told = FollowUpAdded(incident=incident, project=found.project, text=text)
            return replace(notes, follow_ups=[*notes.follow_ups, FollowUp(text=text)]), told

        return self._changed(incident, added).follow_ups

    @command()
    def tick(self, *, incident: IncidentId, number: int) -> list[FollowUp]:
        """Say that something that was to be done after an incident is done.

        Args:
            incident: The incident's number.
            number: Which follow-up: 1 for the first.

        Returns:
            All follow-ups of the incident.

        Raises:
            NotFound: There is no such incident or follow-up.
            Conflict: It is done already.
        """

        def ticked(found: Incident, notes: ReviewNotes) -> tuple[ReviewNotes, Event]:
            if not 1 <= number <= len(notes.follow_ups):
                raise NotFound(
                    f"Incident {incident} has {len(notes.follow_ups)} follow-ups, and no {number}."
                )
            one = notes.follow_ups[number - 1]
            if one.done:
                raise Conflict(f"Follow-up {number} of incident {incident} is done already.")
            every = [replace(each, done=True) if each is one else each for each in notes.follow_ups]
            told = FollowUpDone(incident=incident, project=found.project, text=one.text)
            return replace(notes, follow_ups=every), told

        return self._changed(incident, ticked).follow_ups

    @command()
    def close(self, *, incident: IncidentId, aligned: bool, summary: str = "") -> Review:
        """Close the review of a resolved incident.

        Args:
            incident: The incident's number.
            aligned: Whether retraining was aligned with the requirements.
            summary: What you say about the incident.

        Raises:
            NotFound: There is no such incident.
            Conflict: The incident is not resolved, or the review is closed already.
            Invalid: The summary is too long.
        """
        refuse_text(summary or "-", "summary", LONGEST_NOTE)

        def closed(found: Incident, notes: ReviewNotes) -> tuple[ReviewNotes, Event]:
            if found.state != "resolved":
                raise Conflict(
                    f"Incident {incident} is {found.state}. Close its review when it is resolved: "
                    f"treadle incident resolve {incident}"
                )
            if notes.closed:
                raise Conflict(f"The review of incident {incident} is closed already.")
            told = IncidentReviewed(
                incident=incident, project=found.project, aligned=aligned, summary=summary
            )
            return replace(notes, aligned=aligned, summary=summary, closed=True), told

        self._changed(incident, closed)
        return self.draft(incident=incident)

    def _changed(
        self, id: int, change: Callable[[Incident, ReviewNotes], tuple[ReviewNotes, Event]]
    ) -> ReviewNotes:
        """Change what people have added to a review, in one transaction."""
        with self._database.write() as transaction:
            found = read_incident(transaction, id)
            notes, told = change(found, read_notes(transaction, id))
            write_notes(transaction, id, notes)
            self._events.append(transaction, told)
        return notes


def _trouble_since(incident: Incident) -> datetime:
    """When the trouble began, as far as the alerts know."""
    return min([incident.opened_at, *(alert.since for alert in incident.alerts)])


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else max((until - since).total_seconds(), 0.0)
