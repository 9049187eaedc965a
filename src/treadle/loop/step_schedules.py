"""Runs steps of pipelines on schedules, and where a dataset's source has changed."""

from datetime import datetime, timedelta

from sqlalchemy import select

from treadle.data.local import LocalData
from treadle.events.local import LocalEvents
from treadle.events.model import EventRecord
from treadle.kernel.clock import Clock
from treadle.kernel.errors import TreadleError
from treadle.kernel.event import Event
from treadle.kernel.stage import RECONCILE
from treadle.loop.hooks import RULE
from treadle.loop.model import StepsDue
from treadle.loop.service import Act, log
from treadle.loop.tables import schedules
from treadle.ports.database import Database
from treadle.scope import cron
from treadle.scope.local import LocalScope
from treadle.scope.step_schedules import NEW_DATA, StepSchedule
from treadle.training.local import LocalTraining

APART = timedelta(minutes=1)
MOST_MISSED = 1000
"""How many missed moments are made up at most; the newest of them are."""


class StepSchedules:
    """Looks at the schedules of all projects, and runs the steps that are due.

    Args:
        database: Where it is noted when each schedule was last looked at.
        events: The event log.
        clock: The source of time.
        scope: The projects.
        data: Versions of their datasets.
        training: Starts the steps.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        scope: LocalScope,
        data: LocalData,
        training: LocalTraining,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._scope, self._data, self._training = scope, data, training

    @RECONCILE()
    def look(self) -> int:
        """Emit an event for each moment of a schedule that has come since the last look.

        Returns:
            How many there were.
        """
        return sum(
            self._look_at(project.name, schedule)
            for project in self._scope.projects()
            for schedule in project.spec.schedule
        )

    def _look_at(self, project: str, schedule: StepSchedule) -> int:
        now = self._clock.now()
        key = f"steps:{schedule.name}"
        here = (schedules.c.project == project) & (schedules.c.schedule == key)
        with self._database.read() as connection:
            row = connection.execute(select(schedules).where(here)).one_or_none()
        if row is not None and now - row.looked_at < APART:
            return 0
        newest = self._newest_data(project) if schedule.when == NEW_DATA else None
        due: list[datetime] = []
        if row is not None and newest is None:
            due = _moments(schedule, row.looked_at, now)
        elif row is not None and row.seen is not None and newest is not None:
            due = [now] if newest > row.seen else []
        with self._database.write() as transaction:
            again = transaction.execute(select(schedules).where(here)).one_or_none()
            if (again and again.looked_at) != (row and row.looked_at):
                return 0  # another process has looked meanwhile
            transaction.execute(schedules.delete().where(here))
            kept = {"project": project, "schedule": key, "looked_at": now, "seen": newest}
            transaction.execute(schedules.insert().values(kept))
            for moment in due:
                event = StepsDue(
                    project=project, schedule=schedule.name, steps=schedule.steps, moment=moment
                )
                self._events.append(transaction, event)
        return len(due)

    def _newest_data(self, project: str) -> int:
        """Take the content of a project's datasets; the number of the newest version's event.

        Whoever has taken a version first, as a training does, it is new to who has not seen it.
        """
        try:
            self._data.snapshot(project=project)
        except TreadleError as error:  # a file that is being written, a check that refuses it
            log.info("the data of project '%s' cannot be taken now: %s", project, error.message)
        added = self._events.history(
            type="DatasetVersionAdded", project=project, newest_first=True, limit=1
        )
        return added[0].number if added else 0

    @RULE((StepsDue, "run steps on schedule"))
    def run(self, record: EventRecord, event: Event) -> Act:
        """Start the steps of a schedule for one of its moments.

        Args:
            record: The event's record.
            event: The event.
        """
        assert isinstance(event, StepsDue)
        effects = self._events.effects(number=record.number)
        if any(effect.type == "PipelineStarted" for effect in effects):
            return "nothing to do", "this event has started the steps already"
        run = self._training.run_steps(project=event.project, steps=event.steps, asof=event.moment)
        steps = ", ".join(event.steps)
        return "acted", f"started {steps} as {run.id} for {event.moment:%Y-%m-%d %H:%M} UTC"


def _moments(schedule: StepSchedule, looked: datetime, now: datetime) -> list[datetime]:
    """The moments since the last look that are run for."""
    longest = schedule.longest_catch_up
    since = looked if longest is None else max(looked, now - longest)
    missed = list(cron.moments(schedule.when, since, now))
    return missed[-(1 if longest is None else MOST_MISSED) :]
