"""Moves running pipelines on, step by step, and reuses outputs that an earlier run has made."""

import platform
from functools import cache
from importlib.metadata import distributions
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select

from treadle.data.splits import Split
from treadle.kernel.entity import from_plain, to_json, to_plain
from treadle.kernel.event import acting
from treadle.kernel.stage import RECONCILE
from treadle.pipelines.model import (
    PipelineRun,
    StepResult,
    StepRun,
    StepState,
)
from treadle.pipelines.service import ALL, STEP_JOB, Pipelines
from treadle.pipelines.step import StepPlan
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.ports.blobs import digest_of


class Advancing(Pipelines):
    """Pipelines; with what starts, settles and reuses their steps."""

    @RECONCILE()
    def reconcile(self) -> int:
        """Move every running pipeline on as far as it can go now.

        Returns:
            How many steps or runs changed state.
        """
        return sum(self._advance(pipeline) for pipeline in self.find(state="running", limit=ALL))

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
            if step and self._is_due(step) and needed <= succeeded:
                self._start_step(pipeline, step_plan)
                changed += 1
        return changed

    def _is_due(self, step: StepRun) -> bool:
        """Whether a step waits, and not for the pause before its next try."""
        paused = step.retry_at is not None and step.retry_at > self._clock.now()
        return step.state == "waiting" and not paused

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
                    timeout_seconds=step_plan.options.timeout_seconds
                    or pipeline.step_timeout_seconds,
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

    def _remember(
        self,
        transaction: Connection,
        key: str,
        result: StepResult,
        project: str = "",
        *,
        held_out: bool = False,
    ) -> None:
        """Keep a step's output for later runs; that of a trial with what is known of it."""
        transaction.execute(step_cache.delete().where(step_cache.c.key == key))
        row = {"key": key, "output": result.output, "kind": result.kind}
        of_trial = {"project": project, "held_out": held_out}
        transaction.execute(step_cache.insert().values(**row, **of_trial))

    def _key(self, pipeline: PipelineRun, step_plan: StepPlan, split: Split = "holdout") -> str:
        """Digest of all that decides a step's output: code, installed packages, and inputs.

        That of a trial is of its project alone, whose rows are erased with the project's others.
        """
        values = {**pipeline.parameters, **pipeline.datasets, "asof": pipeline.asof}
        inputs: dict[str, Any] = {}
        for need in step_plan.needs:
            source = pipeline.step(need.name)
            inputs[need.name] = source.output if source else values.get(need.name)
        decides = [pipeline.code, pipeline.file, step_plan.name, inputs, environment()]
        of_trial = [] if split == "holdout" else [split, pipeline.project]
        return digest_of(to_json([*decides, *of_trial]))

    def _settle(self, pipeline: PipelineRun, step: StepRun) -> int:
        job = self._jobs.get(job=step.job or "")
        if not job.ended:
            return 0
        # Another process may have settled this try, and begun the next.
        this_try = _step_in_state(pipeline, step.name, "running")
        this_try &= pipeline_steps.c.job == step.job
        change = pipeline_steps.update().where(this_try)
        with self._database.write() as transaction:
            if job.state == "succeeded":
                result = from_plain(job.result, StepResult)
                done = change.values(state="succeeded", **to_plain(result))
                if transaction.execute(done).rowcount:
                    self._remember(transaction, step.key or "", result)
            else:
                error = f"{job.error} (job {job.id} {job.state}; see: treadle logs {job.id})"
                again = self._again(pipeline, step) if job.state != "cancelled" else {}
                tries = step.tries + 1
                transaction.execute(
                    change.values(**({"state": "failed"} | again), error=error, tries=tries)
                )
        return 1

    def _again(self, pipeline: PipelineRun, step: StepRun) -> dict[str, Any]:
        """The values of a failed step that is tried again; none where it has no try left."""
        options = next(one for one in pipeline.plan if one.name == step.name).options
        if step.tries >= options.retries:
            return {}
        retry_at = self._clock.now() + options.pause(step.tries + 1)
        return {"state": "waiting", "retry_at": retry_at}


@cache
def environment() -> str:
    """Digest of this Python's version and of every installed package with its version."""
    read = (package.metadata for package in distributions())  # each look at it parses a file
    packages = sorted(f"{one['Name']}=={one['Version']}" for one in read)
    return digest_of(to_json([platform.python_version(), packages]))


def _step_in_state(pipeline: PipelineRun, name: str, state: StepState) -> ColumnElement[bool]:
    """The condition that a step's row still has a state."""
    return and_(
        pipeline_steps.c.pipeline == pipeline.id,
        pipeline_steps.c.name == name,
        pipeline_steps.c.state == state,
    )
