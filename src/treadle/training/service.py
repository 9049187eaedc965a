"""Runs trainings: each pins data and code, runs a tracked pipeline, and packages a model."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from sqlalchemy import select

from treadle.data.service import Data
from treadle.events.local import LocalEvents
from treadle.kernel.clock import duration, in_utc
from treadle.kernel.entity import from_json, replace, to_text
from treadle.kernel.errors import Invalid, NotFound, TreadleError
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import ProjectName, RunId
from treadle.kernel.operation import command, query
from treadle.pipelines.local import LocalPipelines
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.starter import PipelineStarter
from treadle.pipelines.step import defaults_of, store_code
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, in_sight, load
from treadle.ports.sandbox import Allowance
from treadle.scope.local import LocalScope
from treadle.scope.model import PipelineFile
from treadle.tracking.environment import capture
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Dataset
from treadle.training.growth import Grown, Growth
from treadle.training.model import (
    NewRows,
    Training,
    TrainingStarted,
    TrainingState,
)
from treadle.training.tables import trainings

log = logging.getLogger(__name__)
MOST_MOMENTS = 1000
HOLDOUT = "holdout"  # the step whose table a candidate is judged on


class TrainingService:
    """Trainings of a project's model."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        blobs: Blobs,
        scope: LocalScope,
        data: Data,
        tracking: LocalTracking,
        pipelines: LocalPipelines,
        starter: PipelineStarter,
        growth: Growth,
    ) -> None:
        self._database = database
        self._events = events
        self._blobs = blobs
        self._scope = scope
        self._data = data
        self._tracking = tracking
        self._pipelines = pipelines
        self._starter = starter
        self._growth = growth

    @command()
    def start(
        self,
        *,
        project: ProjectName,
        name: str = "",
        parameters: dict[str, Any] | None = None,
        fresh: list[str] = [],  # noqa: B006 - never changed
    ) -> Training:
        """Train a candidate on the project's data and code as they are now.

        Data and code are stored first, so that the training can be repeated.

        Args:
            project: Name of the project.
            name: Name of the tracked run; its id if omitted.
            parameters: Values of pipeline parameters by name, as a JSON object; they override those
                of ``treadle.toml``.
            fresh: Names of steps to run again although their outputs are cached, with those that
                depend on them.

        Returns:
            The training that has started.

        Raises:
            NotFound: The project, its pipeline file or a file of its datasets does not exist, or
                there is no such step.
            Conflict: The project has no folder on this machine.
            Invalid: The pipeline has no valid steps, or a parameter is unknown or not finite.
        """
        folder = self._scope.folder(name=project)
        pipeline = self._prepared(project, parameters, fresh=fresh)
        datasets, values = pipeline.datasets, pipeline.parameters
        params = defaults_of(pipeline.plan, [*datasets, *values])
        params |= {key: str(value) for key, value in values.items()}
        with self._database.write() as transaction:
            self._starter.begin(transaction, pipeline)
            run = self._tracking.begin(transaction, project, name, params)
            event = TrainingStarted(
                run=run, project=project, pipeline=pipeline.id, datasets=datasets
            )
            cause = self._events.append(transaction, event)
            row = {
                "run": run,
                "project": project,
                "pipeline": pipeline.id,
                "state": "running",
                "parameters": to_text(values),
                "actor": current_act().actor,
                "cause": cause,
            }
            transaction.execute(trainings.insert().values(row))
        try:
            environment = capture(values.get("seed"), root=folder, command=[])
            self._tracking.keep_source(run=run, environment=environment, code=pipeline.code)
            used = [_used(name, digest) for name, digest in datasets.items()]
            self._tracking.use_data(run=run, datasets=used)
        except TreadleError as error:  # the training itself has begun and goes on
            log.warning("What repeating run %s needs could not be noted: %s", run, error)
        return self.get(run=run)

    @command()
    def run_steps(
        self,
        *,
        project: ProjectName,
        steps: list[str],
        parameters: dict[str, Any] | None = None,
        fresh: list[str] = [],  # noqa: B006 - never changed
        asof: datetime | None = None,
    ) -> PipelineRun:
        """Run some steps of the project's pipeline, with those that they need, and train nothing.

        Args:
            project: Name of the project.
            steps: Names of the steps; with none, all of them run.
            parameters: Values of pipeline parameters by name, as a JSON object; they override those
                of ``treadle.toml``.
            fresh: Names of steps to run again although their outputs are cached, with those that
                depend on them.
            asof: The time that steps receive as ``asof``; now if omitted.

        Returns:
            The pipeline run that has started.

        Raises:
            NotFound: The project, its pipeline file or a file of its datasets does not exist, or
                there is no such step.
            Conflict: The project has no folder on this machine.
            Invalid: The pipeline has no valid steps, or a parameter is unknown or not finite.
        """
        moment = in_utc(asof) if asof else None
        pipeline = self._prepared(project, parameters, only=steps, fresh=fresh, asof=moment)
        with self._database.write() as transaction:
            self._starter.begin(transaction, pipeline)
        return self._pipelines.get(pipeline=pipeline.id)

    @command()
    def backfill(
        self,
        *,
        project: ProjectName,
        steps: list[str],
        start: datetime,
        until: datetime,
        every: str = "1d",
        parameters: dict[str, Any] | None = None,
    ) -> list[str]:
        """Run some steps for moments of the past, each moment by a run of its own.

        Args:
            project: Name of the project.
            steps: Names of the steps; with none, all of them run.
            start: The first moment.
            until: The end of the moments, which is none of them.
            every: Time between two moments, such as ``1d``.
            parameters: Values of pipeline parameters by name, as a JSON object; they override those
                of ``treadle.toml``.

        Returns:
            Ids of the pipeline runs, in the order of their moments, which the steps receive as
                ``asof``.

        Raises:
            NotFound: The project, its pipeline file or a file of its datasets does not exist, or
                there is no such step.
            Conflict: The project has no folder on this machine.
            Invalid: There are no moments or too many, the pipeline has no valid steps, or a
                parameter is unknown or not finite.
        """
        moments = _moments(in_utc(start), in_utc(until), duration(every))
        first = self._prepared(project, parameters, only=steps, asof=moments[0])
        runs = [replace(first, id=new_id("pipe"), asof=moment) for moment in moments]
        with self._database.write() as transaction:
            for run in runs:
                self._starter.begin(transaction, run)
        return [run.id for run in runs]

    def _prepared(
        self,
        project: str,
        parameters: dict[str, Any] | None,
        *,
        only: Sequence[str] = (),
        fresh: Sequence[str] = (),
        asof: datetime | None = None,
    ) -> PipelineRun:
        """A run of the project's pipeline over data and code as they are now."""
        declared = self._scope.project(name=project).spec.pipeline
        code, grown, values = self._inputs(project, parameters)
        return self._starter.prepare(
            project,
            code,
            declared.file,
            {name: version.digest for name, version in grown.items()},
            values,
            duration(declared.step_timeout).total_seconds(),
            allowance_of(declared),
            only=only,
            fresh=fresh,
            asof=asof,
        )

    def _inputs(
        self, project: str, parameters: dict[str, Any] | None
    ) -> tuple[str, dict[str, Grown], dict[str, Any]]:
        """What a training that starts now learns from.

        Args:
            project: Name of the project.
            parameters: Values that override those of ``treadle.toml``.

        Returns:
            (digest of the code, datasets by name, parameters by name).

        Raises:
            NotFound: The project, its pipeline file or a file of its datasets does not exist.
            Invalid: The pipeline has no valid steps.
        """
        spec = self._scope.project(name=project).spec
        folder = self._scope.folder(name=project)
        versions = self._data.snapshot(project=project)
        code = store_code(self._blobs, folder, spec.pipeline.file)
        grown = {
            version.name: self._growth.grow(spec.data[version.name], version)
            if spec.data[version.name].is_learnt_from
            else Grown.source_alone(version.digest)
            for version in versions
        }
        return code, grown, {**spec.pipeline.parameters, **(parameters or {})}

    @query()
    def new_rows(self, *, project: ProjectName, run: RunId | None = None) -> NewRows:
        """Show what has come since a model was trained that the next one could learn from.

        Args:
            project: Name of the project.
            run: Run of the training that is compared with, as that of the champion; the newest
                one that succeeded if omitted.

        Raises:
            NotFound: There is no such project, or no such training.
        """
        wanted = self._scope.project(name=project).spec.retrain.min_new_labels
        trained = [self.get(run=run)] if run else self.find(project=project, state="succeeded")
        return self._growth.new_rows(project, self._learnt(trained[0]) if trained else {}, wanted)

    def _learnt(self, training: Training) -> dict[str, str]:
        """The datasets that a training has learnt from: digests by name."""
        return self._pipelines.get(pipeline=training.pipeline).datasets

    @query()
    def get(self, *, run: RunId) -> Training:
        """Show one training.

        Args:
            run: Id of the training's run.

        Raises:
            NotFound: There is no such training.
        """
        statement = select(trainings).where(trainings.c.run == run)
        with self._database.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
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
        """List trainings, newest first.

        Args:
            project: List only trainings of this project; all projects if omitted.
            state: List only trainings in this state; all states if omitted.
            limit: Largest number of trainings to list.
        """
        statement = select(trainings).where(in_sight(trainings.c.project))
        statement = statement.order_by(trainings.c.run.desc()).limit(limit)
        if project:
            statement = statement.where(trainings.c.project == project)
        if state:
            statement = statement.where(trainings.c.state == state)
        with self._database.read() as connection:
            return [_training(row) for row in connection.execute(statement).mappings()]


def allowance_of(declared: PipelineFile) -> Allowance:
    """What the steps of a project may use.

    Args:
        declared: Table ``[pipeline]``.
    """
    return Allowance(
        network=declared.network,
        memory_bytes=int(declared.memory_gb * 1e9),
        disk_bytes=int(declared.disk_gb * 1e9),
        cpu_seconds=ceil(duration(declared.cpu_time or "0s").total_seconds()),
    )


def _moments(start: datetime, until: datetime, every: timedelta) -> list[datetime]:
    if not start < until:
        raise Invalid(f"'{start:%Y-%m-%d %H:%M}' is not before '{until:%Y-%m-%d %H:%M}'.")
    if not every:
        raise Invalid("The time between two moments must be longer than nothing.")
    count = -((start - until) // every)
    if count > MOST_MOMENTS:
        raise Invalid(
            f"These are {count:,} moments; {MOST_MOMENTS:,} are the most at a time. Take fewer."
        )
    return [start + number * every for number in range(count)]


def _used(name: str, digest: str) -> Dataset:
    return Dataset(
        name=name, digest=digest, source_type="treadle", source=f"data:{digest}", context="training"
    )


def _training(row: Mapping[Any, Any]) -> Training:
    return load(Training, row, parameters=from_json(row["parameters"], dict[str, Any]))
