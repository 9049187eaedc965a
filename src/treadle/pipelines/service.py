"""Runs the steps of pipelines as jobs, and reuses outputs that an earlier run has made."""

import math
import platform
import typing
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from treadle.events.service import Events
from treadle.jobs.service import Jobs
from treadle.kernel.clock import Clock, monotonic
from treadle.kernel.entity import fields, from_json, from_plain, replace, to_json, to_plain, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.event import acting, current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import PipelineId, ProjectName
from treadle.kernel.operation import command, query
from treadle.kernel.stage import JOB, RECONCILE
from treadle.pipelines import output
from treadle.pipelines.model import (
    PipelineEnded,
    PipelineRun,
    PipelineStarted,
    PipelineState,
    StepResult,
    StepRun,
    StepState,
)
from treadle.pipelines.step import StepPlan, load_steps, parse_steps, plan, read_steps
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.ports.blobs import Blobs, digest_of
from treadle.ports.database import Database, load
from treadle.ports.runtime import Exporter, Runtime
from treadle.ports.tree import fetch_tree, put_tree, read_tree

STEP_JOB = "pipelines.step"
ALL = 100_000


class Pipelines:
    """Pipelines of Python steps.

    A step whose code, packages and inputs are those of an earlier run is not run again.
    """

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        blobs: Blobs,
        jobs: Jobs,
        exporter: Exporter,
        runtime: Runtime,
        cache: Path,
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._blobs = blobs
        self._jobs = jobs
        self._cache = cache
        self._exporter = exporter
        self._runtime = runtime

    @command(role="admin", everywhere=True)
    def start(
        self,
        *,
        project: ProjectName,
        code: str,
        file: str,
        datasets: dict[str, str],
        parameters: dict[str, Any],
    ) -> PipelineRun:
        """Start a run of the steps in stored code, over stored dataset versions.

        The code runs with the server's own rights, so only an administrator of all projects may
        start it.

        Args:
            project: Name of the project.
            code: Digest of the stored tree of code, 64 hex digits.
            file: Path of the pipeline file within the code, such as ``pipeline.py``.
            datasets: Digest of the dataset version to use by dataset name, as a JSON object.
            parameters: Values of pipeline parameters by name, as a JSON object.

        Returns:
            The run that has started.

        Raises:
            NotFound: There is no such code, or no such file in it.
            Invalid: The file has no valid steps, or a parameter is unknown or not finite.
        """
        pipeline = self.prepare(project, code, file, datasets, parameters)
        with self._database.write() as transaction:
            self.begin(transaction, pipeline)
        return self.get(pipeline=pipeline.id)

    def keep_code(self, folder: Path, file: str) -> str:
        """Store the Python files of a folder, after checking that the pipeline file holds steps.

        Args:
            folder: Folder of the code.
            file: Path of the pipeline file within the folder.

        Returns:
            The digest of the stored tree.

        Raises:
            NotFound: There is no such pipeline file.
            Invalid: The pipeline file has no valid steps.
        """
        read_steps(folder / file)
        return put_tree(self._blobs, folder, pattern="**/*.py")

    def prepare(
        self,
        project: str,
        code: str,
        file: str,
        datasets: dict[str, str],
        parameters: dict[str, Any],
        step_timeout_seconds: float = 3600.0,
    ) -> PipelineRun:
        """Make a run that can begin: its steps are in order and its parameters are checked.

        Args:
            project: Name of the project.
            code: Digest of the stored tree of code.
            file: Path of the pipeline file within the code.
            datasets: Digest of the dataset version to use by dataset name.
            parameters: Values of pipeline parameters by name.
            step_timeout_seconds: Longest duration of one step, in seconds.

        Returns:
            The run, which is not stored yet.

        Raises:
            NotFound: There is no such code, or no such file in it.
            Invalid: The file has no valid steps, or a parameter is unknown or not finite.
        """
        steps = plan(self._steps_of(code, file), given={*datasets, *parameters})
        _check_parameters(steps, parameters)
        return PipelineRun(
            id=new_id("pipe"),
            project=project,
            code=code,
            file=file,
            datasets=datasets,
            parameters=parameters,
            step_timeout_seconds=step_timeout_seconds,
            plan=steps,
            asof=self._clock.now(),
            state="running",
            error=None,
            started_at=self._clock.now(),
            ended_at=None,
            actor=current_act().actor,
            cause=None,
            steps=[],
        )

    def begin(self, transaction: Connection, pipeline: PipelineRun) -> None:
        """Start a prepared run in the transaction of the change that needs it.

        Args:
            transaction: Open write transaction; the run exists when it commits.
            pipeline: The run that ``prepare`` made.
        """
        event = PipelineStarted(
            pipeline=pipeline.id,
            project=pipeline.project,
            code=pipeline.code,
            datasets=pipeline.datasets,
        )
        number = self._events.append(transaction, event)
        self._insert(transaction, replace(pipeline, cause=number))

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
            return _pipeline(connection, row)

    @query()
    def find(self, *, state: PipelineState | None = None, limit: int = 50) -> list[PipelineRun]:
        """List pipeline runs, newest first.

        Args:
            state: List only runs in this state; all states if omitted.
            limit: Largest number of runs to list.
        """
        statement = select(pipelines).order_by(pipelines.c.id.desc()).limit(limit)
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

    @RECONCILE()
    def reconcile(self) -> int:
        """Move every running pipeline on as far as it can go now.

        Returns:
            How many steps or runs changed state.
        """
        return sum(self._advance(pipeline) for pipeline in self.find(state="running", limit=ALL))

    @JOB(STEP_JOB)
    def execute(self, payload: Mapping[str, Any]) -> StepResult:
        """Run one step in this process; the process of the step's job calls this.

        Args:
            payload: Payload of the job: the id of the ``pipeline`` and the name of the ``step``.

        Raises:
            Invalid: The step's output cannot be stored.
        """
        pipeline = self.get(pipeline=payload["pipeline"])
        started = monotonic()
        folder = fetch_tree(self._blobs, pipeline.code, self._cache / pipeline.code)
        function = load_steps(folder / pipeline.file)[payload["step"]]
        value = function(**self._arguments(pipeline, function))
        digest, kind = output.store(self._blobs, value, self._exporter, self._runtime)
        return StepResult(output=digest, kind=kind, seconds=round(monotonic() - started, 3))

    def fetch_output(self, step: StepRun) -> Path:
        """Fetch the output of a finished step.

        Args:
            step: The step.

        Returns:
            The folder that holds the output.

        Raises:
            Conflict: The step has no output.
        """
        if step.output is None:
            raise Conflict(f"Step '{step.name}' has made nothing: it is {step.state}.")
        return fetch_tree(self._blobs, step.output, self._cache / step.output)

    def output_bytes(self, step: StepRun) -> int:
        """Size of a step's output in bytes; 0 when it has none.

        Args:
            step: The step.
        """
        return read_tree(self._blobs, step.output).bytes if step.output else 0

    def _steps_of(self, code: str, file: str) -> list[StepPlan]:
        files = read_tree(self._blobs, code).files
        if file not in files:
            hint = did_you_mean(file, files)
            raise NotFound(f"There is no pipeline file '{file}' in code {code[:12]}.{hint}")
        return parse_steps(self._blobs.get(files[file].digest), file)

    def _arguments(self, pipeline: PipelineRun, function: Any) -> dict[str, Any]:
        hints = _hints(function)
        values: dict[str, Any] = {"seed": 0, **pipeline.parameters, "asof": pipeline.asof}
        step_plan = next(entry for entry in pipeline.plan if entry.name == function.__name__)
        arguments = {}
        for need in step_plan.needs:
            name = need.name
            source = pipeline.step(name)
            if source is not None and source.kind:
                folder = self.fetch_output(source)
                arguments[name] = output.load(folder, source.kind, hints.get(name))
            elif name in pipeline.datasets:
                arguments[name] = self._dataset(pipeline.datasets[name])
            elif name in values:
                arguments[name] = values[name]
        return arguments

    def _dataset(self, digest: str) -> Path:
        """The file of a dataset of one file, or the folder of one of many."""
        folder = fetch_tree(self._blobs, digest, self._cache / digest)
        files = list(read_tree(self._blobs, digest).files)
        return folder / files[0] if len(files) == 1 else folder

    def _advance(self, pipeline: PipelineRun) -> int:
        changed = sum(
            self._settle(pipeline, step) for step in pipeline.steps if step.state == "running"
        )
        pipeline = self.get(pipeline=pipeline.id) if changed else pipeline
        failed = next((step for step in pipeline.steps if step.state == "failed"), None)
        if failed:
            error = f"Step '{failed.name}' failed: {failed.error}"
            return changed + self._finish(pipeline, "failed", error)
        succeeded = {step.name for step in pipeline.steps if step.state == "succeeded"}
        if len(succeeded) == len(pipeline.plan):
            return changed + self._finish(pipeline, "succeeded", None)
        for step_plan in pipeline.plan:
            step = pipeline.step(step_plan.name)
            needed = {need.name for need in step_plan.needs if pipeline.step(need.name)}
            if step and step.state == "waiting" and needed <= succeeded:
                self._start_step(pipeline, step_plan)
                changed += 1
        return changed

    def _start_step(self, pipeline: PipelineRun, step_plan: StepPlan) -> None:
        key = self._key(pipeline, step_plan)
        waiting = _step_in_state(pipeline, step_plan.name, "waiting")
        running = and_(pipelines.c.id == pipeline.id, pipelines.c.state == "running")
        with self._database.write() as transaction, acting(pipeline.actor, cause=pipeline.cause):
            if (
                transaction.scalar(select(pipeline_steps.c.name).where(waiting)) is None
                or transaction.scalar(select(pipelines.c.id).where(running)) is None
            ):
                return  # another process has started the step, or the run was cancelled meanwhile
            values = self._cached(transaction, key) or {
                "state": "running",
                "job": self._jobs.enqueue(
                    transaction,
                    kind=STEP_JOB,
                    payload={"pipeline": pipeline.id, "step": step_plan.name},
                    timeout_seconds=pipeline.step_timeout_seconds,
                    project=pipeline.project,
                ),
            }
            transaction.execute(pipeline_steps.update().where(waiting).values(**values, key=key))

    def _cached(self, transaction: Connection, key: str) -> dict[str, Any] | None:
        """The values of a step whose output an earlier run has made, or None."""
        statement = select(step_cache).where(step_cache.c.key == key)
        hit = transaction.execute(statement).mappings().one_or_none()
        if hit is None or not self._blobs.has(hit["output"]):
            return None
        return {
            "state": "succeeded",
            "cached": True,
            "output": hit["output"],
            "kind": hit["kind"],
        }

    def _key(self, pipeline: PipelineRun, step_plan: StepPlan) -> str:
        """Digest of all that decides a step's output: code, installed packages, and inputs."""
        values = {**pipeline.parameters, **pipeline.datasets, "asof": pipeline.asof}
        inputs: dict[str, Any] = {}
        for need in step_plan.needs:
            source = pipeline.step(need.name)
            inputs[need.name] = source.output if source else values.get(need.name)
        return digest_of(
            to_json([pipeline.code, pipeline.file, step_plan.name, inputs, environment()])
        )

    def _settle(self, pipeline: PipelineRun, step: StepRun) -> int:
        job = self._jobs.get(job=step.job or "")
        if not job.ended:
            return 0
        running = _step_in_state(pipeline, step.name, "running")
        change = pipeline_steps.update().where(running)
        with self._database.write() as transaction:
            if job.state == "succeeded":
                result = from_plain(job.result, StepResult)
                transaction.execute(change.values(state="succeeded", **to_plain(result)))
                transaction.execute(step_cache.delete().where(step_cache.c.key == step.key))
                transaction.execute(
                    step_cache.insert().values(key=step.key, output=result.output, kind=result.kind)
                )
            else:
                error = f"{job.error} (job {job.id} {job.state}; see: treadle logs {job.id})"
                transaction.execute(change.values(state="failed", error=error))
        return 1

    def _finish(
        self, pipeline: PipelineRun, state: PipelineState, error: str | None, by: str | None = None
    ) -> int:
        running = and_(pipelines.c.id == pipeline.id, pipelines.c.state == "running")
        running_steps = and_(
            pipeline_steps.c.pipeline == pipeline.id, pipeline_steps.c.state == "running"
        )
        actor = by or pipeline.actor
        with self._database.write() as transaction, acting(actor, cause=pipeline.cause):
            ending = {"state": state, "error": error, "ended_at": self._clock.now()}
            if transaction.execute(pipelines.update().where(running).values(ending)).rowcount:
                unfinished = {
                    "state": "failed",
                    "error": "The pipeline run ended before this step did.",
                }
                transaction.execute(pipeline_steps.update().where(running_steps).values(unfinished))
                event = PipelineEnded(
                    pipeline=pipeline.id, project=pipeline.project, state=state, error=error
                )
                self._events.append(transaction, event)
        for step in pipeline.steps:
            if step.state == "running" and step.job and not self._jobs.get(job=step.job).ended:
                self._jobs.cancel(job=step.job)
        return 1

    def _insert(self, transaction: Connection, pipeline: PipelineRun) -> None:
        row = fields(pipeline)
        del row["steps"]
        row |= {name: to_text(row[name]) for name in ("datasets", "parameters", "plan")}
        transaction.execute(pipelines.insert().values(row))
        for index, step_plan in enumerate(pipeline.plan):
            step_row = {
                "pipeline": pipeline.id,
                "name": step_plan.name,
                "place": index,
                "state": "waiting",
                "cached": False,
                "seconds": 0.0,
            }
            transaction.execute(pipeline_steps.insert().values(step_row))


@cache
def environment() -> str:
    """Digest of this Python's version and of every installed package with its version."""
    packages = sorted(f"{package.name}=={package.version}" for package in distributions())
    return digest_of(to_json([platform.python_version(), packages]))


def _hints(function: Any) -> dict[str, Any]:
    """Types of a step's annotations; names imported only for type checkers are left out."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        return {
            name: kind
            for name, kind in function.__annotations__.items()
            if not isinstance(kind, str)
        }


def _check_parameters(steps: list[StepPlan], parameters: dict[str, Any]) -> None:
    """Refuse a parameter that no step asks for, and a number that cannot be kept."""
    needed = {need.name for step in steps for need in step.needs} | {"seed"}
    for name, value in parameters.items():
        if name not in needed:
            raise Invalid(f"No step asks for the parameter '{name}'.{did_you_mean(name, needed)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(
                f"Parameter '{name}' is {value}, which cannot be kept. Give a finite number."
            )


def _step_in_state(pipeline: PipelineRun, name: str, state: StepState) -> ColumnElement[bool]:
    """The condition that a step's row still has a state."""
    return and_(
        pipeline_steps.c.pipeline == pipeline.id,
        pipeline_steps.c.name == name,
        pipeline_steps.c.state == state,
    )


def _pipeline(connection: Connection, row: Mapping[Any, Any]) -> PipelineRun:
    statement = (
        select(pipeline_steps)
        .where(pipeline_steps.c.pipeline == row["id"])
        .order_by(pipeline_steps.c.place)
    )
    return load(
        PipelineRun,
        row,
        datasets=from_json(row["datasets"], dict[str, str]),
        parameters=from_json(row["parameters"], dict[str, Any]),
        plan=from_json(row["plan"], list[StepPlan]),
        steps=[load(StepRun, step_row) for step_row in connection.execute(statement).mappings()],
    )
