"""Studies as they are read: their trials, the best of them, and what parameters matter."""

import json
from collections import defaultdict
from collections.abc import Sequence
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Row, func, select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.names import ProjectName, StudyName
from treadle.kernel.operation import query
from treadle.ports.database import Database, in_sight
from treadle.ports.tuner import TrialRecord, Tuner, TunerOver
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Status
from treadle.tuning.best import best_of, feasible, progress_of, values_of
from treadle.tuning.model import Study, StudyPlan, Trial, TrialValues
from treadle.tuning.tables import studies, trials
from treadle.tuning.trials import Trials, count, read_trials


class Studies:
    """Studies that search for hyper-parameters, as they are read.

    Args:
        database: Where they are.
        events: The log that studies and trials are told in.
        clock: The source of time.
        tracking: Keeps the runs of studies and trials.
        trials: The store that the tuner searches over.
        tuner_over: Makes the tuner, which is loaded when it is first asked.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        tracking: LocalTracking,
        trials: Trials,
        tuner_over: TunerOver,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._tracking, self._trials, self._tuner_over = tracking, trials, tuner_over
        self._made_tuner: Tuner | None = None
        self._choosing: defaultdict[int, Lock] = defaultdict(Lock)

    @query()
    def get(self, *, study: StudyName) -> Study:
        """Show a study with the numbers of its best trials.

        Args:
            study: Name of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            return self._studies(connection, [self._row(connection, study)])[0]

    @query()
    def studies(self, *, project: ProjectName | None = None, limit: int = 50) -> list[Study]:
        """List studies, newest first.

        Args:
            project: List only studies of this project; all projects if omitted.
            limit: Largest number of studies to list.
        """
        wanted = select(studies).where(in_sight(studies.c.project), studies.c.run != "")
        if project:
            wanted = wanted.where(studies.c.project == project)
        wanted = wanted.order_by(studies.c.id.desc()).limit(max(0, limit))
        with self._database.read() as connection:
            return self._studies(connection, connection.execute(wanted).all())

    @query()
    def trials(
        self, *, study: StudyName, limit: int = 1000, before: int | None = None
    ) -> list[Trial]:
        """List the newest trials of a study, by number.

        Args:
            study: Name of the study.
            limit: Largest number of trials to list.
            before: List only trials with a smaller number; all if omitted.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
            end = count(connection, row.id)
            end = end if before is None else min(end, max(0, before))
            within = trials.c.number >= end - max(0, limit), trials.c.number < end
            found = read_trials(connection, row.id, *within)
        plan = plan_in(row)
        return [trial_of(study, plan, one) for one in found]

    @query()
    def trial(self, *, study: StudyName, number: int) -> Trial:
        """Show one trial of a study.

        Args:
            study: Name of the study.
            number: Number of the trial.

        Raises:
            NotFound: There is no such study or trial.
        """
        with self._database.read() as connection:
            row, present = self._present(connection, study, number)
        return trial_of(study, plan_in(row), present)

    @query()
    def best(self, *, study: StudyName) -> list[Trial]:
        """Show the best trials: one, or the Pareto front of several objectives.

        Args:
            study: Name of the study.

        Returns:
            The best trials by number; none while no trial has finished within the constraints.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
            plan = plan_in(row)
            finished = _finished(connection, [row.id])[row.id]
            numbers = [one.number for one in best_of(finished, plan)]
            found = read_trials(connection, row.id, trials.c.number.in_(numbers))
        return [trial_of(study, plan, one) for one in found]

    @query(searches=True)
    def progress(self, *, study: StudyName, limit: int = 5000) -> list[TrialValues]:
        """List the values that finished trials have reached, by number, and the best until then.

        Args:
            study: Name of the study.
            limit: Largest number of trials to list; the newest are listed.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
            finished = _finished(connection, [row.id])[row.id]
        reached = list(progress_of(finished, plan_in(row)))
        return reached[max(0, len(reached) - max(0, limit)) :]

    @query(searches=True)
    def importances(self, *, study: StudyName, metric: str = "") -> dict[str, float]:
        """Show how much of a metric's variation each parameter explains (PED-ANOVA).

        Args:
            study: Name of the study.
            metric: The objective; the first one if omitted.

        Returns:
            Shares that add up to 1 by parameter, the largest first.

        Raises:
            NotFound: There is no such study.
            Invalid: Too few trials have finished, or the study has no such objective.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
        plan = plan_in(row)
        if metric and metric not in plan.metrics:
            raise Invalid(
                f"Study '{study}' has no objective '{metric}'.{did_you_mean(metric, plan.metrics)}"
            )
        objective = plan.metrics.index(metric) if metric else 0
        return self._tuner.importances(row.id, plan.search, objective)

    @property
    def _tuner(self) -> Tuner:
        if self._made_tuner is None:
            self._made_tuner = self._tuner_over(self._trials)
        return self._made_tuner

    def _row(self, connection: Connection, study: str) -> Row[Any]:
        row = connection.execute(select(studies).where(studies.c.name == study)).one_or_none()
        if row is None or not row.run:
            raise NotFound(
                f"There is no study '{study}'. List studies with: treadle tuning studies"
            )
        return row

    def _present(
        self, connection: Connection, study: str, number: int
    ) -> tuple[Row[Any], TrialRecord]:
        row = self._row(connection, study)
        found = read_trials(connection, row.id, trials.c.number == number)
        if not found:
            raise NotFound(f"Study '{study}' has no trial {number}.")
        return row, found[0]

    def _studies(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Study]:
        numbers = [row.id for row in rows]
        statuses = self._tracking.statuses(connection, [row.run for row in rows])
        finished, counts = _finished(connection, numbers), _counts(connection, numbers)
        return [
            _study(row, finished[row.id], counts[row.id], statuses.get(row.run, "running"))
            for row in rows
        ]


def _study(
    row: Row[Any], finished: Sequence[TrialRecord], counts: dict[str, int], status: Status
) -> Study:
    plan = plan_in(row)
    best = best_of(finished, plan)
    return Study(
        name=row.name,
        project=row.project,
        run=row.run,
        plan=plan,
        started_at=row.started_at,
        counts=counts,
        best=[one.number for one in best],
        best_values=[values_of(one, plan) for one in best],
        status=status,
    )


def _counts(connection: Connection, numbers: Sequence[int]) -> defaultdict[int, dict[str, int]]:
    """How many trials of studies are in each state, by study."""
    wanted = select(trials.c.study, trials.c.state, func.count())
    wanted = wanted.where(trials.c.study.in_(numbers)).group_by(trials.c.study, trials.c.state)
    counts: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for study, state, number in connection.execute(wanted):
        counts[study][state] = number
    return counts


def _finished(
    connection: Connection, numbers: Sequence[int]
) -> defaultdict[int, list[TrialRecord]]:
    """The finished trials of studies by study, with only what decides on the best of them."""
    decides = (trials.c.study, trials.c.number, trials.c["values"], trials.c.system_attributes)
    wanted = select(*decides).where(trials.c.study.in_(numbers), trials.c.state == "finished")
    rows = connection.execute(wanted.order_by(trials.c.number)).all()
    texts = (f"[{row.values or 'null'},{row.system_attributes}]" for row in rows)
    decoded = json.loads(f"[{','.join(texts)}]")  # a call for each text takes most of the time
    found: defaultdict[int, list[TrialRecord]] = defaultdict(list)
    for row, (values, notes) in zip(rows, decoded, strict=True):
        trial = TrialRecord(
            study=row.study, number=row.number, values=values, system_attributes=notes
        )
        found[row.study].append(trial)
    return found


def plan_in(row: Row[Any]) -> StudyPlan:
    """The plan of a study.

    Args:
        row: The study's row.
    """
    return from_json(row.plan, StudyPlan)


def trial_of(study: str, plan: StudyPlan, record: TrialRecord) -> Trial:
    """A trial as operations return it.

    Args:
        study: Name of the study.
        plan: Its plan.
        record: The trial as the database keeps it.
    """
    values = values_of(record, plan)
    return Trial(
        study=study,
        number=record.number,
        state=record.state,
        params=record.params,
        metrics={**record.user_attributes.get("measured", {}), **values},
        feasible=feasible(record),
        run=record.run or "",
        attempt=record.attempt,
        error=record.error,
        started_at=record.started_at,
        ended_at=record.ended_at,
    )
