"""Studies: begun, asked for trials, told what came out, and read."""

import time
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, replace, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.names import ProjectName, StudyName
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, in_sight
from treadle.ports.tuner import TrialRecord, TrialState, Tuner, TunerOver
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import PARENT, Status
from treadle.tuning.best import best_of, feasible
from treadle.tuning.model import Study, StudyPlan, StudyStarted, Trial, TrialEnded
from treadle.tuning.tables import studies, trials
from treadle.tuning.trials import Trials, count, read_trials

LEASE_SECONDS = 20.0
"""How long a worker may be silent before its trial is begun again."""
MOST_ATTEMPTS = 2
_STATUS: dict[TrialState, Status] = {"finished": "finished", "pruned": "killed", "failed": "failed"}


class Tuning:
    """Studies that search for hyper-parameters."""

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

    @command()
    def start(self, *, project: ProjectName, name: str, plan: StudyPlan) -> Study:
        """Begin a study: a tracked run, under which each trial is a run of its own.

        Args:
            project: Name of the project.
            name: Name of the study, unique in the home.
            plan: What it searches for, and how long, as a JSON object.

        Returns:
            The study.

        Raises:
            Invalid: The space cannot be sampled, or the plan contradicts itself.
            Conflict: There is a study of this name.
        """
        if not 0 < len(name) <= 200:
            raise Invalid("Field 'name': a study's name has 1 to 200 characters.")
        if not plan.metrics or len(plan.metrics) != len(plan.search.directions):
            raise Invalid(
                f"Field 'plan.metrics': {len(plan.metrics)} metrics have "
                f"{len(plan.search.directions)} directions. Give one direction to each metric."
            )
        if plan.trials < 0:
            raise Invalid(f"Field 'plan.trials': {plan.trials} is less than 0.")
        self._tuner.check(plan.search)
        with self._database.write() as transaction:
            tags = {"treadle.study": name}
            params = {
                "sampler": plan.search.sampler,
                "pruner": plan.search.pruner,
                "metrics": ", ".join(plan.metrics),
            }
            run = self._tracking.begin(transaction, project, f"tune: {name}", params, tags)
            self._trials.begin_study(
                transaction, name, plan.search.directions, project, run, to_text(plan)
            )
            self._events.append(transaction, StudyStarted(study=name, project=project, run=run))
        return self.get(study=name)

    @query()
    def get(self, *, study: StudyName) -> Study:
        """Show a study with the numbers of its best trials.

        Args:
            study: Name of the study.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            return self._study(connection, self._row(connection, study))

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
            return [self._study(connection, row) for row in connection.execute(wanted).all()]

    @query()
    def trials(self, *, study: StudyName, limit: int = 1000) -> list[Trial]:
        """List the newest trials of a study, by number.

        Args:
            study: Name of the study.
            limit: Largest number of trials to list.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
            after = count(connection, row.id) - max(0, limit)
            found = read_trials(connection, row.id, trials.c.number >= after)
        plan = _plan(row)
        return [_trial(study, plan, one) for one in found]

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
            plan = _plan(row)
            finished = read_trials(connection, row.id, trials.c.state == "finished")
        return [_trial(study, plan, one) for one in best_of(finished, plan)]

    @query()
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
        plan = _plan(row)
        if metric and metric not in plan.metrics:
            raise Invalid(
                f"Study '{study}' has no objective '{metric}'.{did_you_mean(metric, plan.metrics)}"
            )
        objective = plan.metrics.index(metric) if metric else 0
        return self._tuner.importances(row.id, plan.search, objective)

    @command()
    def ask(self, *, study: StudyName) -> Trial | None:
        """Begin a trial: one whose worker has died or was interrupted, else a new one.

        A trial belongs to who asked for it until it is told how the trial ended, or until it was
        silent for 20 seconds.

        Args:
            study: Name of the study.

        Returns:
            The trial; None where no trial may begin now.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.read() as connection:
            row = self._row(connection, study)
            begun = count(connection, row.id)
            lost = read_trials(connection, row.id, _lost()) if begun else []
        plan = _plan(row)
        for trial in lost:
            if (again := self._begin_again(row, plan, trial.id)) is not None:
                return again
        if self._is_full(plan, begun):
            return None
        drawn = self._tuner.suggest(row.id, plan.search)
        return self._begin(row, plan, drawn)

    @command()
    def beat(self, *, study: StudyName, number: int, attempt: int) -> bool:
        """Keep a trial that runs, for another 20 seconds.

        Args:
            study: Name of the study.
            number: Number of the trial.
            attempt: The attempt, as ``ask`` gave it.

        Returns:
            Whether the trial still belongs to this attempt.

        Raises:
            NotFound: There is no such study or trial.
        """
        own = _own(attempt)
        with self._database.write() as transaction:
            row, present = self._present(transaction, study, number)
            here = trials.update().where(trials.c.id == present.id, *own)
            values = {"leased_until": time.time() + LEASE_SECONDS}
            return bool(transaction.execute(here.values(values)).rowcount)

    @command()
    def report(
        self, *, study: StudyName, number: int, attempt: int, step: int, value: float
    ) -> bool:
        """Add a value of the objective that a trial has reached on its way.

        Args:
            study: Name of the study.
            number: Number of the trial.
            attempt: The attempt, as ``ask`` gave it.
            step: Step of the value.
            value: The value.

        Returns:
            Whether the trial is hopeless and should end as pruned.

        Raises:
            NotFound: There is no such study or trial.
            Conflict: The trial belongs to another worker, or has ended.
        """
        with self._database.read() as connection:
            row, present = self._present(connection, study, number)
        reported = replace(present, reports={**present.reports, step: value})
        hopeless, notes = self._tuner.report(reported, _plan(row).search)
        with self._database.write() as transaction:
            row, present = self._present(transaction, study, number)
            _check_own(present, attempt, study)
            changed = replace(
                present,
                reports={**present.reports, step: value},
                system_attributes={**present.system_attributes, **notes},
                leased_until=time.time() + LEASE_SECONDS,
            )
            self._trials.update(transaction, present, changed)
        return hopeless

    @command()
    def tell(
        self,
        *,
        study: StudyName,
        number: int,
        attempt: int,
        state: TrialState,
        metrics: dict[str, float] | None = None,
        error: str | None = None,
    ) -> Trial:
        """End a trial, with what was measured. Telling the same twice is refused.

        Args:
            study: Name of the study.
            number: Number of the trial.
            attempt: The attempt, as ``ask`` gave it.
            state: ``finished``, ``pruned`` or ``failed``.
            metrics: What was measured, by metric, as a JSON object; of a finished trial every
                objective and all that constraints limit.
            error: Why the trial failed.

        Returns:
            The trial as it is now.

        Raises:
            NotFound: There is no such study or trial.
            Invalid: The trial has finished without a metric that the study needs.
            Conflict: The trial belongs to another worker, or has ended.
        """
        measured = metrics or {}
        with self._database.write() as transaction:
            row, present = self._present(transaction, study, number)
            plan = _plan(row)
            _check_own(present, attempt, study)
            changed = replace(present, state=state, error=error, ended_at=self._clock.now())
            if state == "finished":
                changed = _measured(changed, plan, measured)
            self._trials.update(transaction, present, changed)
            if measured and present.run:
                self._tracking.measured(transaction, present.run, measured)
            self._end_run(transaction, row, changed)
        return _trial(study, plan, changed)

    @command()
    def release(self, *, study: StudyName) -> int:
        """Let trials that run wait, to be begun again by the next who asks.

        This is for who has ended the study's workers.

        Args:
            study: Name of the study.

        Returns:
            How many trials wait now that ran before.

        Raises:
            NotFound: There is no such study.
        """
        with self._database.write() as transaction:
            row = self._row(transaction, study)
            running = read_trials(transaction, row.id, trials.c.state == "running")
            for trial in running:
                self._trials.update(transaction, trial, replace(trial, state="waiting"))
        return len(running)

    @command()
    def finish(self, *, study: StudyName, status: Status = "finished") -> Study:
        """End the study's run; trials that are asked for later join it all the same.

        Args:
            study: Name of the study.
            status: How it ended.

        Raises:
            NotFound: There is no such study.
        """
        best = self.best(study=study)
        with self._database.write() as transaction:
            row = self._row(transaction, study)
            if len(best) == 1:
                plan = _plan(row)
                values = {name: best[0].metrics[name] for name in plan.metrics}
                self._tracking.measured(transaction, row.run, values)
            self._tracking.end(transaction, row.run, row.project, status)
        return self.get(study=study)

    @property
    def _tuner(self) -> Tuner:
        if self._made_tuner is None:
            self._made_tuner = self._tuner_over(self._trials)
        return self._made_tuner

    def _is_full(self, plan: StudyPlan, begun: int) -> bool:
        most = self._tuner.most_trials(plan.search)
        limits = [limit for limit in (plan.trials or None, most) if limit is not None]
        return bool(limits) and begun >= min(limits)

    def _begin(self, row: Row[Any], plan: StudyPlan, drawn: TrialRecord) -> Trial | None:
        with self._database.write() as transaction:
            begun = count(transaction, row.id)
            if self._is_full(plan, begun):
                return None
            number = begun
            if plan.search.sampler == "grid" and number != drawn.number:
                drawn = replace(drawn, params=self._tuner.point(plan.search, number))
            run = self._begin_run(transaction, row, number, drawn.params)
            leased_until = time.time() + LEASE_SECONDS
            stored = self._trials.insert(
                transaction, replace(drawn, run=run, leased_until=leased_until)
            )
        return _trial(row.name, plan, stored)

    def _begin_again(self, row: Row[Any], plan: StudyPlan, trial: int) -> Trial | None:
        """Take a trial that lost its worker; one that has lost two ends as failed."""
        with self._database.write() as transaction:
            found = read_trials(transaction, row.id, trials.c.id == trial, _lost())
            if not found:
                return None  # another worker was faster
            [present] = found
            interrupted = present.state == "waiting"
            if not interrupted and present.attempt >= MOST_ATTEMPTS:
                error = f"Its worker died {present.attempt} times."
                failed = replace(
                    present, state="failed", error=error, ended_at=self._clock.now()
                )
                self._trials.update(transaction, present, failed)
                self._end_run(transaction, row, failed)
                return None
            if present.run:
                self._tracking.end(transaction, present.run, row.project, "killed")
            run = self._begin_run(transaction, row, present.number, present.params)
            again = replace(
                present,
                state="running",
                run=run,
                attempt=present.attempt + 1,
                reports={},
                system_attributes={},
                leased_until=time.time() + LEASE_SECONDS,
            )
            self._trials.update(transaction, present, again)
        return _trial(row.name, plan, again)

    def _begin_run(
        self, transaction: Connection, row: Row[Any], number: int, params: dict[str, Any]
    ) -> str:
        tags = {PARENT: row.run, "treadle.study": row.name, "treadle.trial": str(number)}
        texts = {name: str(value) for name, value in params.items()}
        name = f"{row.name} {number}"
        return self._tracking.begin(transaction, row.project, name, texts, tags)

    def _end_run(self, transaction: Connection, row: Row[Any], trial: TrialRecord) -> None:
        if trial.run is None:
            return
        self._tracking.end(transaction, trial.run, row.project, _STATUS[trial.state])
        event = TrialEnded(
            study=row.name,
            project=row.project,
            run=trial.run,
            number=trial.number,
            state=trial.state,
        )
        self._events.append(transaction, event)

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

    def _study(self, connection: Connection, row: Row[Any]) -> Study:
        plan = _plan(row)
        grouped = select(trials.c.state, func.count()).where(trials.c.study == row.id)
        counts = {state: n for state, n in connection.execute(grouped.group_by(trials.c.state))}
        finished = read_trials(connection, row.id, trials.c.state == "finished")
        return Study(
            name=row.name,
            project=row.project,
            run=row.run,
            plan=plan,
            started_at=row.started_at,
            counts=counts,
            best=[one.number for one in best_of(finished, plan)],
        )


def _plan(row: Row[Any]) -> StudyPlan:
    return from_json(row.plan, StudyPlan)


def _trial(study: str, plan: StudyPlan, record: TrialRecord) -> Trial:
    values = dict(zip(plan.metrics, record.values or [], strict=False))
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


def _measured(trial: TrialRecord, plan: StudyPlan, metrics: dict[str, float]) -> TrialRecord:
    """A finished trial with its values, and with what its constraints say."""
    for name in (*plan.metrics, *plan.constraints):
        if name not in metrics or metrics[name] != metrics[name]:
            has = ", ".join(sorted(metrics)) or "nothing"
            raise Invalid(
                f"Trial {trial.number} has no value of '{name}', which the study needs; it has "
                f"measured {has}.{did_you_mean(name, metrics)}"
            )
    excesses = {
        f"constraints:{name}": bound.excess(metrics[name])
        for name, bound in plan.constraints.items()
    }
    others = {name: value for name, value in metrics.items() if name not in plan.metrics}
    return replace(
        trial,
        values=[float(metrics[name]) for name in plan.metrics],
        user_attributes={**trial.user_attributes, **({"measured": others} if others else {})},
        system_attributes={**trial.system_attributes, **excesses},
    )


def _lost() -> Any:
    """The condition that a trial waits, or that its worker is silent."""
    silent = (trials.c.state == "running") & (trials.c.leased_until < time.time())
    return or_(trials.c.state == "waiting", silent)


def _own(attempt: int) -> tuple[Any, ...]:
    return trials.c.state == "running", trials.c.attempt == attempt


def _check_own(trial: TrialRecord, attempt: int, study: str) -> None:
    if trial.state != "running" or trial.attempt != attempt:
        raise Conflict(
            f"Attempt {attempt} of trial {trial.number} of study '{study}' is over: the trial is "
            f"{trial.state}, at attempt {trial.attempt}. Ask for another trial."
        )
