"""Runs a project's steps as jobs, one step of progress per reconcile, and never makes the same thing twice."""

import math
import platform
import typing
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from treadle.events.service import Events
from treadle.jobs.service import Jobs
from treadle.kernel.clock import Clock, monotonic
from treadle.kernel.entity import from_json, from_plain, replace, to_json, to_plain, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean
from treadle.kernel.event import acting, current_act
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.pipelines import output
from treadle.pipelines.model import (
    PipelineEnded,
    PipelineRun,
    PipelineStarted,
    PipelineState,
    StepResult,
    StepRun,
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
    """Pipelines of Python steps."""

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
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._jobs, self._cache = blobs, jobs, cache
        self._exporter, self._runtime = exporter, runtime

    @command(role="admin", everywhere=True)
    def start(
        self,
        *,
        project: str,
        code: str,
        file: str,
        datasets: dict[str, str],
        parameters: dict[str, Any],
    ) -> PipelineRun:
        """Start a run of the steps in a file of a stored tree of code, over dataset versions; trees are given by digest.

        The code runs with the server's own rights, so nobody may bring it who has not all of them.
        """
        pipeline = self.prepare(project, code, file, datasets, parameters)
        with self._database.write() as transaction:
            self.begin(transaction, pipeline)
        return self.get(pipeline=pipeline.id)

    def keep_code(self, folder: Path, file: str) -> str:
        """Store a folder's Python files, once ``file`` among them is known to hold steps. Returns their digest."""
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
        """A run that can begin: its steps are in order, its parameters checked. ``code`` is a stored tree."""
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
        """Start a prepared run in the transaction of whoever wants it."""
        event = PipelineStarted(
            pipeline=pipeline.id,
            project=pipeline.project,
            code=pipeline.code,
            datasets=pipeline.datasets,
        )
        number = self._events.append(transaction, event)
        self._insert(transaction, replace(pipeline, cause=number))

    @query()
    def get(self, *, pipeline: str) -> PipelineRun:
        """One pipeline run with its steps."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(pipelines).where(pipelines.c.id == pipeline))
                .mappings()
                .one_or_none()
            )
            if row is None:
                raise NotFound(
                    f"There is no pipeline run '{pipeline}'. List them with: treadle pipelines find"
                )
            return _pipeline(connection, row)

    @query()
    def find(self, *, state: PipelineState | None = None, limit: int = 50) -> list[PipelineRun]:
        """Pipeline runs, newest first, in one state if given."""
        wanted = select(pipelines).order_by(pipelines.c.id.desc()).limit(limit)
        if state:
            wanted = wanted.where(pipelines.c.state == state)
        with self._database.read() as connection:
            return [
                _pipeline(connection, row) for row in connection.execute(wanted).mappings().all()
            ]

    @command()
    def cancel(self, *, pipeline: str) -> PipelineRun:
        """Stop a pipeline run and the job of its current step."""
        found = self.get(pipeline=pipeline)
        if found.state != "running":
            was = "was cancelled" if found.state == "cancelled" else f"has {found.state}"
            raise Conflict(f"Pipeline run '{pipeline}' {was} already.")
        self._finish(found, "cancelled", "It was cancelled.", by=current_act().actor)
        return self.get(pipeline=pipeline)

    def reconcile(self) -> int:
        """Move every running pipeline on as far as it can go now. Returns how many steps or runs changed state."""
        return sum(self._advance(pipeline) for pipeline in self.find(state="running", limit=ALL))

    def execute(self, payload: Mapping[str, Any]) -> StepResult:
        """Run one step; this is what its job's process calls."""
        pipeline = self.get(pipeline=payload["pipeline"])
        started = monotonic()
        folder = fetch_tree(self._blobs, pipeline.code, self._cache / pipeline.code)
        function = load_steps(folder / pipeline.file)[payload["step"]]
        value = function(**self._arguments(pipeline, function))
        digest, kind = output.store(self._blobs, value, self._exporter, self._runtime)
        return StepResult(output=digest, kind=kind, seconds=round(monotonic() - started, 3))

    def fetch_output(self, step: StepRun) -> Path:
        """The folder that holds a finished step's output."""
        if step.output is None:
            raise Conflict(f"Step '{step.name}' has made nothing: it is {step.state}.")
        return fetch_tree(self._blobs, step.output, self._cache / step.output)

    def output_bytes(self, step: StepRun) -> int:
        """How large a finished step's output is."""
        return read_tree(self._blobs, step.output).bytes if step.output else 0

    def _steps_of(self, code: str, file: str) -> list[StepPlan]:
        kept = read_tree(self._blobs, code).files
        if file not in kept:
            raise NotFound(
                f"There is no pipeline file '{file}' in code {code[:12]}.{did_you_mean(file, kept)}"
            )
        return parse_steps(self._blobs.get(kept[file].digest), file)

    def _arguments(self, pipeline: PipelineRun, function: Any) -> dict[str, Any]:
        hints = _hints(function)
        given: dict[str, Any] = {"seed": 0, **pipeline.parameters, "asof": pipeline.asof}
        step_plan = next(p for p in pipeline.plan if p.name == function.__name__)
        arguments = {}
        for need in step_plan.needs:
            if (made := pipeline.step(need.name)) is not None and made.kind:
                arguments[need.name] = output.load(
                    self.fetch_output(made), made.kind, hints.get(need.name)
                )
            elif need.name in pipeline.datasets:
                arguments[need.name] = self._dataset(pipeline.datasets[need.name])
            elif need.name in given:
                arguments[need.name] = given[need.name]
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
            return changed + self._finish(
                pipeline, "failed", f"Step '{failed.name}' failed: {failed.error}"
            )
        done = {step.name for step in pipeline.steps if step.state == "succeeded"}
        if len(done) == len(pipeline.plan):
            return changed + self._finish(pipeline, "succeeded", None)
        for step_plan in pipeline.plan:
            step = pipeline.step(step_plan.name)
            needed = {need.name for need in step_plan.needs if pipeline.step(need.name)}
            if step and step.state == "waiting" and needed <= done:
                self._start_step(pipeline, step_plan)
                changed += 1
        return changed

    def _start_step(self, pipeline: PipelineRun, step_plan: StepPlan) -> None:
        key = self._key(pipeline, step_plan)
        mine = (pipeline_steps.c.pipeline == pipeline.id) & (
            pipeline_steps.c.name == step_plan.name
        )
        mine &= pipeline_steps.c.state == "waiting"
        with self._database.write() as transaction, acting(pipeline.actor, cause=pipeline.cause):
            running = (pipelines.c.id == pipeline.id) & (pipelines.c.state == "running")
            waiting = transaction.scalar(select(pipeline_steps.c.name).where(mine))
            if waiting is None or transaction.scalar(select(pipelines.c.id).where(running)) is None:
                return  # somebody else was faster, or the run was cancelled meanwhile
            hit = (
                transaction.execute(select(step_cache).where(step_cache.c.key == key))
                .mappings()
                .one_or_none()
            )
            if hit is not None and self._blobs.has(hit["output"]):
                done = {
                    "state": "succeeded",
                    "cached": True,
                    "output": hit["output"],
                    "kind": hit["kind"],
                }
                transaction.execute(pipeline_steps.update().where(mine).values(**done, key=key))
                return
            payload, seconds = (
                {"pipeline": pipeline.id, "step": step_plan.name},
                pipeline.step_timeout_seconds,
            )
            job = self._jobs.enqueue(
                transaction,
                kind=STEP_JOB,
                payload=payload,
                timeout_seconds=seconds,
                project=pipeline.project,
            )
            transaction.execute(
                pipeline_steps.update().where(mine).values(state="running", job=job, key=key)
            )

    def _key(self, pipeline: PipelineRun, step_plan: StepPlan) -> str:
        """What decides a step's result: the code, the installed packages, and the content of each input."""
        inputs: dict[str, Any] = {}
        for need in step_plan.needs:
            made = pipeline.step(need.name)
            given = {**pipeline.parameters, **pipeline.datasets, "asof": pipeline.asof}
            inputs[need.name] = made.output if made else given.get(need.name)
        return digest_of(
            to_json([pipeline.code, pipeline.file, step_plan.name, inputs, environment()])
        )

    def _settle(self, pipeline: PipelineRun, step: StepRun) -> int:
        job = self._jobs.get(job=step.job or "")
        if not job.ended:
            return 0
        mine = (pipeline_steps.c.pipeline == pipeline.id) & (pipeline_steps.c.name == step.name)
        mine &= pipeline_steps.c.state == "running"
        with self._database.write() as transaction:
            if job.state == "succeeded":
                result = from_plain(job.result, StepResult)
                transaction.execute(
                    pipeline_steps.update()
                    .where(mine)
                    .values(state="succeeded", **to_plain(result))
                )
                transaction.execute(step_cache.delete().where(step_cache.c.key == step.key))
                transaction.execute(
                    step_cache.insert().values(key=step.key, output=result.output, kind=result.kind)
                )
            else:
                error = f"{job.error} (job {job.id} {job.state}; see: treadle logs {job.id})"
                transaction.execute(
                    pipeline_steps.update().where(mine).values(state="failed", error=error)
                )
        return 1

    def _finish(
        self, pipeline: PipelineRun, state: PipelineState, error: str | None, by: str | None = None
    ) -> int:
        still = (pipelines.c.id == pipeline.id) & (pipelines.c.state == "running")
        with (
            self._database.write() as transaction,
            acting(by or pipeline.actor, cause=pipeline.cause),
        ):
            ending = {"state": state, "error": error, "ended_at": self._clock.now()}
            if transaction.execute(pipelines.update().where(still).values(ending)).rowcount:
                open_steps = (pipeline_steps.c.pipeline == pipeline.id) & (
                    pipeline_steps.c.state == "running"
                )
                values = {
                    "state": "failed",
                    "error": "The pipeline run ended before this step did.",
                }
                transaction.execute(pipeline_steps.update().where(open_steps).values(values))
                event = PipelineEnded(
                    pipeline=pipeline.id, project=pipeline.project, state=state, error=error
                )
                self._events.append(transaction, event)
        for step in pipeline.steps:
            if step.state == "running" and step.job and not self._jobs.get(job=step.job).ended:
                self._jobs.cancel(job=step.job)
        return 1

    def _insert(self, transaction: Connection, pipeline: PipelineRun) -> None:
        row = {
            name: getattr(pipeline, name) for name in pipeline.__struct_fields__ if name != "steps"
        }
        row |= {name: to_text(row[name]) for name in ("datasets", "parameters", "plan")}
        transaction.execute(pipelines.insert().values(row))
        for place, step_plan in enumerate(pipeline.plan):
            fresh = {"state": "waiting", "cached": False, "seconds": 0.0}
            transaction.execute(
                pipeline_steps.insert().values(
                    pipeline=pipeline.id, name=step_plan.name, place=place, **fresh
                )
            )


@cache
def environment() -> str:
    """The digest of this Python and every package installed in it, with their versions."""
    packages = sorted(f"{found.name}=={found.version}" for found in distributions())
    return digest_of(to_json([platform.python_version(), packages]))


def _hints(function: Any) -> dict[str, Any]:
    """A step's annotations as types; as far as they can be looked up, for some are imported for type checkers only."""
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
    asked = {need.name for step in steps for need in step.needs} | {"seed"}
    for name, value in parameters.items():
        if name not in asked:
            raise Invalid(f"No step asks for the parameter '{name}'.{did_you_mean(name, asked)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise Invalid(
                f"Parameter '{name}' is {value}, which cannot be kept. Give a finite number."
            )


def _pipeline(connection: Connection, row: Mapping[Any, Any]) -> PipelineRun:
    wanted = (
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
        steps=[load(StepRun, step) for step in connection.execute(wanted).mappings()],
    )
