"""Studies: begun, asked for trials, told what came out, and read."""

import time
from typing import Any

from sqlalchemy import Connection, Row, or_

from treadle.kernel.entity import replace, to_text
from treadle.kernel.errors import Busy, Conflict, Invalid
from treadle.kernel.names import ProjectName, StudyName
from treadle.kernel.operation import command
from treadle.ports.tuner import EndState, TrialRecord
from treadle.tracking.model import PARENT, Status
from treadle.tuning.best import with_values
from treadle.tuning.model import Study, StudyPlan, StudyStarted, Trial, TrialEnded
from treadle.tuning.reading import Studies, plan_in, trial_of
from treadle.tuning.tables import studies, trials
from treadle.tuning.trials import count, read_trials

LEASE_SECONDS = 15.0
"""How long a worker may be silent before its trial is begun again."""
MOST_CHOICES = 100
"""How often values are chosen for a new trial while other processes begin trials meanwhile."""
MOST_DEATHS = 2
"""Workers of one trial that die before it fails."""
_STATUS: dict[EndState, Status] = {"finished": "finished", "pruned": "killed", "failed": "failed"}


class Tuning(Studies):
    """Studies that search for hyper-parameters."""

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
            Invalid: The space cannot be sampled, the plan contradicts itself, or it has a source:
                code and data for trials come from the project's folder only.
            Conflict: There is a study of this name.
        """
        if plan.source is not None:
            raise Invalid(
                "Field 'plan.source': a study takes its code and data from the project's folder. "
                "Begin it there: treadle tune"
            )
        return self._start(project, name, plan)

    def _start(self, project: str, name: str, plan: StudyPlan) -> Study:
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

    @command()
    def ask(self, *, study: StudyName) -> Trial | None:
        """Begin a trial: one whose worker has died or was interrupted, else a new one.

        A trial belongs to who asked for it until it is told how the trial ended, or until it was
        silent for 15 seconds.

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
        plan = plan_in(row)
        for trial in lost:
            if (again := self._begin_again(row, plan, trial.id)) is not None:
                return again
        return None if self._is_full(plan, begun) else self._begin(row, plan)

    @command()
    def beat(self, *, study: StudyName, number: int, attempt: int) -> bool:
        """Keep a trial that runs, for another 15 seconds.

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
            present = self._present(transaction, study, number)[1]
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
        hopeless, notes = self._tuner.report(reported, plan_in(row).search)
        with self._database.write() as transaction:
            present = self._present(transaction, study, number)[1]
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
        state: EndState,
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
            plan = plan_in(row)
            _check_own(present, attempt, study)
            changed = replace(present, state=state, error=error, ended_at=self._clock.now())
            if state == "finished":
                changed = with_values(changed, plan, measured)
            self._trials.update(transaction, present, changed)
            if measured and present.run:
                self._tracking.measured(transaction, present.run, measured)
            self._end_run(transaction, row, changed, state)
        return trial_of(study, plan, changed)

    @command()
    def extend(self, *, study: StudyName, trials: int) -> Study:
        """Set how many trials a study has at most, to go on with one that is done.

        Args:
            study: Name of the study.
            trials: Largest number of trials; 0 for no limit.

        Raises:
            NotFound: There is no such study.
            Invalid: The number is less than 0.
        """
        if trials < 0:
            raise Invalid(f"Field 'trials': {trials} is less than 0.")
        with self._database.write() as transaction:
            row = self._row(transaction, study)
            text = to_text(replace(plan_in(row), trials=trials))
            transaction.execute(studies.update().where(studies.c.id == row.id).values(plan=text))
        return self.get(study=study)

    @command()
    def drop(
        self, *, study: StudyName, number: int, attempt: int, interrupted: bool = False
    ) -> bool:
        """Give a trial up that runs; the next who asks begins it again.

        This is for who knows that the trial's worker has died, or has ended it.

        Args:
            study: Name of the study.
            number: Number of the trial.
            attempt: The attempt, as ``ask`` gave it.
            interrupted: Whether the worker was ended on purpose; a trial fails when its worker has
                died twice.

        Returns:
            Whether the trial ran and belonged to this attempt.

        Raises:
            NotFound: There is no such study or trial.
        """
        values = {"state": "waiting"} if interrupted else {"leased_until": 0.0}
        with self._database.write() as transaction:
            present = self._present(transaction, study, number)[1]
            here = trials.update().where(trials.c.id == present.id, *_own(attempt))
            return bool(transaction.execute(here.values(values)).rowcount)

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
                plan = plan_in(row)
                values = {name: best[0].metrics[name] for name in plan.metrics}
                self._tracking.measured(transaction, row.run, values)
            self._tracking.end(transaction, row.run, row.project, status)
        return self.get(study=study)

    def _is_full(self, plan: StudyPlan, begun: int) -> bool:
        most = self._tuner.most_trials(plan.search)
        limits = [limit for limit in (plan.trials or None, most) if limit is not None]
        return bool(limits) and begun >= min(limits)

    def _begin(self, row: Row[Any], plan: StudyPlan) -> Trial | None:
        """Begin a new trial, whose values are chosen with all earlier ones in view."""
        with self._choosing[row.id]:  # so that threads do not choose in vain
            for _ in range(MOST_CHOICES):
                drawn = self._tuner.suggest(row.id, plan.search)
                with self._database.write() as transaction:
                    begun = count(transaction, row.id)
                    if self._is_full(plan, begun):
                        return None
                    if begun != drawn.number:
                        continue  # another process was faster: its trial is to be seen
                    run = self._begin_run(transaction, row, begun, drawn.params)
                    leased = replace(drawn, run=run, leased_until=time.time() + LEASE_SECONDS)
                    return trial_of(row.name, plan, self._trials.insert(transaction, leased))
        raise Busy(
            f"Other workers began trials of study '{row.name}' faster than values were chosen, "
            f"{MOST_CHOICES} times in a row. Ask again, or let fewer workers search."
        )

    def _begin_again(self, row: Row[Any], plan: StudyPlan, trial: int) -> Trial | None:
        """Take a trial that lost its worker; one that has lost two ends as failed."""
        with self._database.write() as transaction:
            found = read_trials(transaction, row.id, trials.c.id == trial, _lost())
            if not found:
                return None  # another worker was faster
            [present] = found
            deaths = present.deaths + (present.state == "running")
            if deaths >= MOST_DEATHS:
                failed = replace(
                    present,
                    state="failed",
                    deaths=deaths,
                    error=f"Its worker died {deaths} times.",
                    ended_at=self._clock.now(),
                )
                self._trials.update(transaction, present, failed)
                self._end_run(transaction, row, failed, "failed")
                return None
            if present.run:
                self._tracking.end(transaction, present.run, row.project, "killed")
            run = self._begin_run(transaction, row, present.number, present.params)
            again = replace(
                present,
                state="running",
                run=run,
                attempt=present.attempt + 1,
                deaths=deaths,
                reports={},
                system_attributes={},
                leased_until=time.time() + LEASE_SECONDS,
            )
            self._trials.update(transaction, present, again)
        return trial_of(row.name, plan, again)

    def _begin_run(
        self, transaction: Connection, row: Row[Any], number: int, params: dict[str, Any]
    ) -> str:
        tags = {PARENT: row.run, "treadle.study": row.name, "treadle.trial": str(number)}
        texts = {name: str(value) for name, value in params.items()}
        name = f"{row.name} {number}"
        return self._tracking.begin(transaction, row.project, name, texts, tags)

    def _end_run(
        self, transaction: Connection, row: Row[Any], trial: TrialRecord, state: EndState
    ) -> None:
        if trial.run is None:
            return
        self._tracking.end(transaction, trial.run, row.project, _STATUS[state])
        event = TrialEnded(
            study=row.name,
            project=row.project,
            run=trial.run,
            number=trial.number,
            state=state,
        )
        self._events.append(transaction, event)


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
