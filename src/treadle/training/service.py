"""Trainings: each pins its data and code, runs the project's pipeline as a tracked run, and ends with a packaged model."""

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from treadle.data.service import Data
from treadle.events.service import Events
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import NotFound, TreadleError
from treadle.kernel.event import acting, current_act
from treadle.kernel.names import ProjectName, RunId
from treadle.kernel.operation import command, query
from treadle.kernel.stage import RECONCILE
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.service import Pipelines
from treadle.ports.database import Database, load
from treadle.scope.model import duration
from treadle.scope.service import Scope
from treadle.tracking.environment import capture
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Dataset, Metric
from treadle.training.model import (
    Training,
    TrainingFailed,
    TrainingFinished,
    TrainingStarted,
    TrainingState,
)
from treadle.training.tables import trainings

log = logging.getLogger(__name__)
HOLDOUT = "holdout"  # the step whose table a candidate is judged on


class TrainingService:
    """Trainings of a project's model."""

    def __init__(
        self,
        database: Database,
        events: Events,
        scope: Scope,
        data: Data,
        tracking: LocalTracking,
        pipelines: Pipelines,
    ) -> None:
        self._database, self._events, self._scope, self._data = database, events, scope, data
        self._tracking, self._pipelines = tracking, pipelines

    @command()
    def start(
        self, *, project: ProjectName, name: str = "", parameters: dict[str, Any] | None = None
    ) -> Training:
        """Take the project's data and code as they are now and train a candidate on them."""
        found, folder = self._scope.project(name=project), self._scope.folder(name=project)
        given = {**found.spec.pipeline.parameters, **(parameters or {})}
        datasets = {
            version.name: version.digest for version in self._data.snapshot(project=project)
        }
        policy = found.spec.pipeline
        seconds = duration(policy.step_timeout).total_seconds()
        code = self._pipelines.keep_code(folder, policy.file)
        pipeline = self._pipelines.prepare(project, code, policy.file, datasets, given, seconds)
        params = {key: str(value) for key, value in given.items()}
        with self._database.write() as transaction:
            self._pipelines.begin(transaction, pipeline)
            run = self._tracking.begin(transaction, project, name, params)
            event = TrainingStarted(
                run=run, project=project, pipeline=pipeline.id, datasets=datasets
            )
            cause = self._events.append(transaction, event)
            row = {"run": run, "project": project, "pipeline": pipeline.id, "state": "running"}
            row |= {"parameters": to_text(given), "actor": current_act().actor}
            transaction.execute(trainings.insert().values(**row, cause=cause))
        try:
            told = capture(given.get("seed"), root=folder, command=[])
            self._tracking.keep_source(run=run, environment=told, code=pipeline.code)
            self._tracking.use_data(
                run=run, datasets=[_used(name, digest) for name, digest in datasets.items()]
            )
        except TreadleError as error:  # the training has begun, and is what was asked for
            log.warning("What repeating run %s needs could not be noted: %s", run, error)
        return self.get(run=run)

    @query()
    def get(self, *, run: RunId) -> Training:
        """One training by its run."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(trainings).where(trainings.c.run == run))
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise NotFound(
                f"Run '{run}' is no training. List trainings with: treadle training find"
            )
        return _training(row)

    @query()
    def find(
        self,
        *,
        project: ProjectName | None = None,
        state: TrainingState | None = None,
        limit: int = 50,
    ) -> list[Training]:
        """Trainings, newest first, of one project or in one state if given."""
        wanted = select(trainings).order_by(trainings.c.run.desc()).limit(limit)
        if project:
            wanted = wanted.where(trainings.c.project == project)
        if state:
            wanted = wanted.where(trainings.c.state == state)
        with self._database.read() as connection:
            return [_training(row) for row in connection.execute(wanted).mappings()]

    @RECONCILE()
    def reconcile(self) -> int:
        """Settle every training whose pipeline has ended. Returns how many were settled."""
        return sum(self._settle(training) for training in self.find(state="running", limit=100_000))

    def _settle(self, training: Training) -> int:
        pipeline = self._pipelines.get(pipeline=training.pipeline)
        if pipeline.state == "running":
            return 0
        with acting(training.actor, cause=training.cause):
            package, holdout = outcome_of(pipeline)
            if package is None or holdout is None:
                self._fail(training, pipeline.error or _incomplete(package))
            else:
                self._succeed(training, pipeline, package, holdout)
        return 1

    def _succeed(
        self, training: Training, pipeline: PipelineRun, package: str, holdout: str
    ) -> None:
        """Complete the run first: each part may repeat, so a crash before the last transaction loses nothing."""
        seconds = [
            Metric(key=f"seconds.{step.name}", value=step.seconds) for step in pipeline.steps
        ]
        if not self._tracking.get(run=training.run).metrics:
            self._tracking.log(run=training.run, metrics=seconds)
        for step in pipeline.steps:
            if step.output:
                size = self._pipelines.output_bytes(step)
                self._tracking.add_artifact(
                    run=training.run, path=step.name, digest=step.output, bytes=size
                )
        self._tracking.finish_run(run=training.run)
        with self._database.write() as transaction:
            done = {"state": "succeeded", "package": package, "holdout": holdout}
            if not transaction.execute(
                trainings.update().where(_running(training)).values(done)
            ).rowcount:
                return
            event = TrainingFinished(
                run=training.run, project=training.project, package=package, holdout=holdout
            )
            self._events.append(transaction, event)

    def _fail(self, training: Training, error: str) -> None:
        self._tracking.finish_run(run=training.run, status="failed")
        with self._database.write() as transaction:
            done = {"state": "failed", "error": error}
            if not transaction.execute(
                trainings.update().where(_running(training)).values(done)
            ).rowcount:
                return
            event = TrainingFailed(run=training.run, project=training.project, error=error)
            self._events.append(transaction, event)


def _used(name: str, digest: str) -> Dataset:
    return Dataset(
        name=name, digest=digest, source_type="treadle", source=f"data:{digest}", context="training"
    )


def _running(training: Training) -> Any:
    """True for the row as long as nobody has settled it."""
    return (trainings.c.run == training.run) & (trainings.c.state == "running")


def outcome_of(pipeline: PipelineRun) -> tuple[str | None, str | None]:
    """The packaged model and the holdout table that a finished pipeline made."""
    models = [step.output for step in pipeline.steps if step.kind == "model"]
    holdout = pipeline.step(HOLDOUT)
    table = holdout.output if holdout and holdout.kind == "table" else None
    return (models[-1], table) if models and pipeline.state == "succeeded" else (None, table)


def _incomplete(package: str | None) -> str:
    if package is None:
        return "No step returned a treadle.Model, so there is nothing to judge or deploy."
    return f"There is no step '{HOLDOUT}' that returns a table, so the model cannot be judged on rows it has not seen."


def _training(row: Mapping[Any, Any]) -> Training:
    return load(Training, row, parameters=from_json(row["parameters"], dict[str, Any]))
