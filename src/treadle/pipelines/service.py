"""Runs the steps of pipelines as jobs, and reuses outputs that an earlier run has made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, select

from treadle.data.reads import SensitiveReads
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Conflict, NotFound
from treadle.kernel.event import acting, current_act
from treadle.kernel.names import ContentDigest, PipelineId, ProjectName
from treadle.kernel.operation import command, query
from treadle.pipelines.model import (
    PipelineEnded,
    PipelineRun,
    PipelineState,
    StepRun,
)
from treadle.pipelines.starter import PipelineStarter
from treadle.pipelines.step import StepPlan
from treadle.pipelines.tables import pipeline_steps, pipelines
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, in_sight, load
from treadle.ports.sandbox import Allowance, Sandbox

STEP_JOB = "pipelines.step"
ALL = 100_000


class Pipelines:
    """Pipelines of Python steps.

    A step whose code, packages and inputs are those of an earlier run is not run again.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        jobs: LocalJobs,
        sandbox: Sandbox,
        step_function: str,
        cache: Path,
        starter: PipelineStarter,
        reads: SensitiveReads,
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._blobs = blobs
        self._jobs = jobs
        self._cache = cache
        self._sandbox = sandbox
        self._step_function = step_function
        self._starter = starter
        self._reads = reads

    @command(brings_code=True)
    def start(
        self,
        *,
        project: ProjectName,
        code: ContentDigest,
        file: str,
        datasets: dict[str, ContentDigest],
        parameters: dict[str, Any],
        only: list[str] = [],  # noqa: B006 - never changed
        fresh: list[str] = [],  # noqa: B006
    ) -> PipelineRun:
        """Start a run of the steps in stored code, over stored dataset versions.

        The code runs confined: it reaches these datasets, its own folder for files, and no network.

        Args:
            project: Name of the project.
            code: Digest of the stored tree of code, 64 hex digits.
            file: Path of the pipeline file within the code, such as ``pipeline.py``.
            datasets: Digest of the dataset version to use by dataset name, as a JSON object.
            parameters: Values of pipeline parameters by name, as a JSON object.
            only: Names of the steps to run, with those that they need; all steps if omitted.
            fresh: Names of steps to run again although their outputs are cached, with those that
                depend on them.

        Returns:
            The run that has started.

        Raises:
            NotFound: There is no such code, no such file in it, or no such step.
            Invalid: The file has no valid steps, or a parameter is unknown or not finite.
        """
        pipeline = self._starter.prepare(
            project, code, file, datasets, parameters, only=only, fresh=fresh
        )
        with self._database.write() as transaction:
            self._starter.begin(transaction, pipeline)
        return self.get(pipeline=pipeline.id)

    @query()
    def get(self, *, pipeline: PipelineId) -> PipelineRun:
        """Show one pipeline run with its steps.

        Args:
            pipeline: Id of the pipeline run.

        Raises:
            NotFound: There is no such run.
        """
        statement = select(pipelines).where(pipelines.c.id == pipeline)
        with self._database.read() as connection:
            row = connection.execute(statement).mappings().one_or_none()
            if row is None:
                raise NotFound(
                    f"There is no pipeline run '{pipeline}'. List them with: treadle pipelines find"
                )
            return _pipeline(connection, row, with_parts=True)

    @query()
    def find(self, *, state: PipelineState | None = None, limit: int = 50) -> list[PipelineRun]:
        """List pipeline runs, newest first, without the single calls of mapped steps.

        Args:
            state: List only runs in this state; all states if omitted.
            limit: Largest number of runs to list.
        """
        statement = select(pipelines).where(in_sight(pipelines.c.project))
        statement = statement.order_by(pipelines.c.id.desc()).limit(limit)
        if state:
            statement = statement.where(pipelines.c.state == state)
        with self._database.read() as connection:
            rows = connection.execute(statement).mappings().all()
            return [_pipeline(connection, row) for row in rows]

    @command()
    def cancel(self, *, pipeline: PipelineId) -> PipelineRun:
        """Stop a pipeline run and the jobs of its running steps.

        Args:
            pipeline: Id of the pipeline run.

        Returns:
            The run as it is now.

        Raises:
            NotFound: There is no such run.
            Conflict: The run has ended already.
        """
        current = self.get(pipeline=pipeline)
        if current.state != "running":
            ending = "was cancelled" if current.state == "cancelled" else f"has {current.state}"
            raise Conflict(f"Pipeline run '{pipeline}' {ending} already.")
        self._finish(current, "cancelled", "It was cancelled.", by=current_act().actor)
        return self.get(pipeline=pipeline)

    def _finish(
        self, pipeline: PipelineRun, state: PipelineState, error: str | None, by: str | None = None
    ) -> int:
        running = and_(pipelines.c.id == pipeline.id, pipelines.c.state == "running")
        running_steps = and_(
            pipeline_steps.c.pipeline == pipeline.id, pipeline_steps.c.state == "running"
        )
        actor = by or pipeline.actor
        jobs: list[str] = []
        with self._database.write() as transaction, acting(actor, cause=pipeline.cause):
            ending = {"state": state, "error": error, "ended_at": self._clock.now()}
            if transaction.execute(pipelines.update().where(running).values(ending)).rowcount:
                unfinished = {
                    "state": "failed",
                    "error": "The pipeline run ended before this step did.",
                }
                begun = select(pipeline_steps.c.job).where(running_steps)
                jobs = [job for job in transaction.scalars(begun) if job]
                transaction.execute(pipeline_steps.update().where(running_steps).values(unfinished))
                event = PipelineEnded(
                    pipeline=pipeline.id, project=pipeline.project, state=state, error=error
                )
                self._events.append(transaction, event)
        for job in jobs:
            if not self._jobs.get(job=job).ended:
                self._jobs.cancel(job=job)
        return 1


def _pipeline(
    connection: Connection, row: Mapping[Any, Any], *, with_parts: bool = False
) -> PipelineRun:
    statement = (
        select(pipeline_steps)
        .where(pipeline_steps.c.pipeline == row["id"])
        .order_by(pipeline_steps.c.place)
    )
    if not with_parts:
        statement = statement.where(pipeline_steps.c.part_of.is_(None))
    rows = [load(StepRun, one) for one in connection.execute(statement).mappings()]
    return load(
        PipelineRun,
        row,
        datasets=from_json(row["datasets"], dict[str, str]),
        parameters=from_json(row["parameters"], dict[str, Any]),
        allowance=from_json(row["allowance"], Allowance),
        plan=from_json(row["plan"], list[StepPlan]),
        steps=[one for one in rows if one.part_of is None],
        parts=[one for one in rows if one.part_of is not None],
    )
