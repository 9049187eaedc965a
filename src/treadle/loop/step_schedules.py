"""Runs steps of pipelines on schedules, and where a dataset's source has changed."""

from collections.abc import Iterator
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
            looked = connection.scalar(select(schedules.c.looked_at).where(here))
        if looked is not None and now - looked < APART:
            return 0
        due = list(self._due(project, schedule, looked, now))
        with self._database.write() as transaction:
            if looked != transaction.scalar(select(schedules.c.looked_at).where(here)):
                return 0  # another process has looked meanwhile
            transaction.execute(schedules.delete().where(here))
            row = {"project": project, "schedule": key, "looked_at": now}
            transaction.execute(schedules.insert().values(row))
            for moment in due:
                event = StepsDue(
                    project=project, schedule=schedule.name, steps=schedule.steps, moment=moment
                )
                self._events.append(transaction, event)
        return len(due)

    def _due(
        self, project: str, schedule: StepSchedule, looked: datetime | None, now: datetime
    ) -> Iterator[datetime]:
        """The moments to run for. A schedule begins when it is first looked at."""
        if schedule.when == NEW_DATA:
            if self._has_new_data(project) and looked is not None:
                yield now
        elif looked is not None:
            longest = schedule.longest_catch_up
            since = looked if longest is None else max(looked, now - longest)
            missed = list(cron.moments(schedule.when, since, now))
            yield from missed[-(1 if longest is None else MOST_MISSED) :]

    def _has_new_data(self, project: str) -> bool:
        """Take the present content of a project's datasets; whether one has a new version."""
        before = self._events.last_number()
        try:
            self._data.snapshot(project=project)
        except TreadleError as error:  # a file that is being written, a check that refuses it
            log.info("the data of project '%s' cannot be taken now: %s", project, error.message)
            return False
        added = self._events.history(
            type="DatasetVersionAdded", project=project, newest_first=True, limit=1
        )
        return bool(added) and added[0].number > before

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
