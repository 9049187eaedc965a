"""Moves running pipelines on, step by step, and reuses outputs that an earlier run has made."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import distributions
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select
from sqlalchemy.exc import SQLAlchemyError

from treadle.data.splits import Split
from treadle.jobs.model import Job
from treadle.kernel.entity import from_plain, to_json, to_plain
from treadle.kernel.errors import Invalid, TreadleError
from treadle.kernel.event import acting
from treadle.kernel.stage import RECONCILE
from treadle.pipelines.conditions import is_left_out
from treadle.pipelines.elements import (
    Element,
    Elements,
    collected,
    elements_of,
    number_of,
    part_name,
)
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

log = logging.getLogger(__name__)
MOST_AT_ONCE = 64
"""How many calls of a mapped step are queued at a time: other pipelines' jobs come between."""


class Advancing(Pipelines):
    """Pipelines; with what starts, settles and reuses their steps."""

    @RECONCILE()
    def reconcile(self) -> int:
        """Move every running pipeline on as far as it can go now.

        Returns:
            How many steps or runs changed state.
        """
        running = self.find(state="running", limit=ALL)
        return sum(self._advance_or_fail(pipeline) for pipeline in running)

    def _advance_or_fail(self, pipeline: PipelineRun) -> int:
        """Move a run on; what its steps have made must not hold up the runs of others."""
        try:
            return self._advance(pipeline)
        except SQLAlchemyError:
            raise
        except TreadleError as error:
            if error.retry:
                raise
            says = error.message
        except Exception as error:
            log.exception("pipeline run %s cannot go on", pipeline.id)
            says = f"{type(error).__name__}: {error}"
        return self._finish(pipeline, "failed", f"It cannot go on. {says}")

    def _advance(self, pipeline: PipelineRun) -> int:
        if any(step_plan.options.element for step_plan in pipeline.plan):
            pipeline = self.get(pipeline=pipeline.id)  # with the parts
        changed = self._settle(pipeline)
        pipeline = self.get(pipeline=pipeline.id) if changed else pipeline
        failed = next((step for step in pipeline.steps if step.state == "failed"), None)
        if failed:
            error = f"Step '{failed.name}' failed: {failed.error}"
            return changed + self._finish(pipeline, "failed", error)
        over = {step.name for step in pipeline.steps if step.state in ("succeeded", "skipped")}
        if len(over) == len(pipeline.plan):
            return changed + self._finish(pipeline, "succeeded", None)
        for step_plan in pipeline.plan:
            step = pipeline.step(step_plan.name)
            needed = {source for source in step_plan.sources if pipeline.step(source)}
            if step and self._is_due(step) and needed <= over:
                self._begin(pipeline, step_plan)
                changed += 1
            elif step and step.state == "running" and step_plan.options.element:
                changed += self._advance_parts(pipeline, step, step_plan)
        return changed

    def _is_due(self, step: StepRun) -> bool:
        """Whether a step waits, and not for the pause before its next try."""
        paused = step.retry_at is not None and step.retry_at > self._clock.now()
        return step.state == "waiting" and not paused

    def _begin(self, pipeline: PipelineRun, step_plan: StepPlan) -> None:
        """Start, expand or skip a step, of which all that it depends on has ended."""
        parts: list[dict[str, Any]] = []
        try:
            if is_left_out(self._blobs, pipeline, step_plan):
                self._end_early(pipeline, step_plan.name, state="skipped")
                return
            if step_plan.options.element:
                count = len(elements_of(self._blobs, pipeline, step_plan))
                parts = [_part_row(pipeline, step_plan.name, number) for number in range(count)]
        except Invalid as error:
            self._end_early(pipeline, step_plan.name, state="failed", error=error.message)
            return
        key = self._key(pipeline, step_plan)
        with self._begins(pipeline, [step_plan.name]) as (transaction, waiting):
            for name in waiting:
                values = None if step_plan.is_fresh else self._cached(transaction, key)
                if values is None and step_plan.options.element:
                    values = {"state": "running"}
                    if parts:
                        transaction.execute(pipeline_steps.insert(), parts)
                elif values is None:
                    values = self._queued(transaction, pipeline, step_plan, {})
                own = _step_in_state(pipeline, name, "waiting")
                transaction.execute(pipeline_steps.update().where(own).values(**values, key=key))

    def _end_early(
        self, pipeline: PipelineRun, step: str, *, state: StepState, error: str | None = None
    ) -> None:
        own = and_(pipeline_steps.c.pipeline == pipeline.id, pipeline_steps.c.name == step)
        own &= pipeline_steps.c.state.in_(["waiting", "running"])
        with self._database.write() as transaction:
            change = pipeline_steps.update().where(own).values(state=state, error=error)
            transaction.execute(change)

    @contextmanager
    def _begins(
        self, pipeline: PipelineRun, names: list[str]
    ) -> Iterator[tuple[Connection, set[str]]]:
        """A transaction, with those of some steps that wait in it and are not cancelled.

        Another process may have started a step, or the run was cancelled meanwhile.
        """
        running = and_(pipelines.c.id == pipeline.id, pipelines.c.state == "running")
        waiting = and_(
            pipeline_steps.c.pipeline == pipeline.id,
            pipeline_steps.c.name.in_(names),
            pipeline_steps.c.state == "waiting",
        )
        with self._database.write() as transaction, acting(pipeline.actor, cause=pipeline.cause):
            found: set[str] = set()
            if transaction.scalar(select(pipelines.c.id).where(running)) is not None:
                found.update(transaction.scalars(select(pipeline_steps.c.name).where(waiting)))
            yield transaction, found

    def _queued(
        self,
        transaction: Connection,
        pipeline: PipelineRun,
        step_plan: StepPlan,
        part: dict[str, int],
    ) -> dict[str, Any]:
        """The values of a step, or of a call of a mapped one, whose job is queued."""
        job = self._jobs.enqueue(
            transaction,
            kind=STEP_JOB,
            payload={"pipeline": pipeline.id, "step": step_plan.name, **part},
            timeout_seconds=step_plan.options.timeout_seconds or pipeline.step_timeout_seconds,
            project=pipeline.project,
        )
        return {"state": "running", "job": job}

    def _advance_parts(self, pipeline: PipelineRun, step: StepRun, step_plan: StepPlan) -> int:
        """Move the calls of a mapped step on; settle it when all have ended."""
        parts = pipeline.parts_of(step.name)
        failed = [part for part in parts if part.state == "failed"]
        if failed:
            first = f"{failed[0].name}: {failed[0].error}"
            error = f"{len(failed)} of its {len(parts)} calls failed. {first}"
            self._end_early(pipeline, step.name, state="failed", error=error)
            return 1
        if all(part.state == "succeeded" for part in parts):
            seconds = round(sum(part.seconds for part in parts), 3)
            output, kind = collected(self._blobs, parts)
            result = StepResult(output=output, kind=kind, seconds=seconds)
            own = _step_in_state(pipeline, step.name, "running")
            done = pipeline_steps.update().where(own).values(state="succeeded", **to_plain(result))
            with self._database.write() as transaction:
                if transaction.execute(done).rowcount:
                    self._remember(transaction, step.key or "", result)
            return 1
        room = MOST_AT_ONCE - sum(part.state == "running" for part in parts)
        due = [part for part in parts if self._is_due(part)] if room > 0 else []
        if not due:
            return 0
        elements = elements_of(self._blobs, pipeline, step_plan)
        started = 0
        for start in range(0, len(due), MOST_AT_ONCE):
            some = due[start : start + MOST_AT_ONCE]
            begun, queued = self._start_parts(pipeline, step_plan, some, elements, room)
            started, room = started + begun, room - queued
            if room <= 0:
                break
        return started

    def _start_parts(
        self,
        pipeline: PipelineRun,
        step_plan: StepPlan,
        parts: list[StepRun],
        elements: Elements,
        room: int,
    ) -> tuple[int, int]:
        """Begin some calls. Returns how many were begun, and how many of them as jobs."""
        begun = queued = 0
        with self._begins(pipeline, [part.name for part in parts]) as (transaction, waiting):
            for part in parts:
                if part.name not in waiting or queued >= room:
                    continue
                number = number_of(part)
                key = self._key(pipeline, step_plan, element=elements[number])
                values = None if step_plan.is_fresh else self._cached(transaction, key)
                if values is None:
                    values = self._queued(transaction, pipeline, step_plan, {"part": number})
                    queued += 1
                own = _step_in_state(pipeline, part.name, "waiting")
                transaction.execute(pipeline_steps.update().where(own).values(**values, key=key))
                begun += 1
        return begun, queued

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

    def _key(
        self,
        pipeline: PipelineRun,
        step_plan: StepPlan,
        split: Split = "holdout",
        element: Element | None = None,
    ) -> str:
        """Digest of all that decides a step's output: code, installed packages, and inputs.

        That of a trial is of its project alone, whose rows are erased with the project's others.
        That of a mapped step's call has its element in the place of all of them.
        """
        values = {**pipeline.parameters, **pipeline.datasets, "asof": pipeline.asof}
        inputs: dict[str, Any] = {}
        for need in step_plan.needs:
            name = step_plan.source_of(need.name)
            source = pipeline.step(name)
            inputs[need.name] = source.output if source else values.get(name)
        if element is not None:
            inputs[step_plan.options.element] = element.decides
        decides = [pipeline.code, pipeline.file, step_plan.name, inputs, environment()]
        of_trial = [] if split == "holdout" else [split, pipeline.project]
        of_call = [] if element is None else ["call"]  # no list of elements looks like one of them
        return digest_of(to_json([*decides, *of_trial, *of_call]))

    def _settle(self, pipeline: PipelineRun) -> int:
        """Take in how the jobs of steps and of their parts have ended."""
        running = [one for one in [*pipeline.steps, *pipeline.parts] if one.state == "running"]
        ended = self._jobs.ended_among({one.job for one in running if one.job})
        return sum(
            self._settle_one(pipeline, one, ended[one.job]) for one in running if one.job in ended
        )

    def _settle_one(self, pipeline: PipelineRun, step: StepRun, job: Job) -> int:
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
        options = pipeline.planned(step.part_of or step.name).options
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


def _part_row(pipeline: PipelineRun, step: str, number: int) -> dict[str, Any]:
    """The row of a mapped step's call that waits."""
    return {
        "pipeline": pipeline.id,
        "name": part_name(step, number),
        "place": number,
        "state": "waiting",
        "cached": False,
        "seconds": 0.0,
        "part_of": step,
    }


def _step_in_state(pipeline: PipelineRun, name: str, state: StepState) -> ColumnElement[bool]:
    """The condition that a step's row still has a state."""
    return and_(
        pipeline_steps.c.pipeline == pipeline.id,
        pipeline_steps.c.name == name,
        pipeline_steps.c.state == state,
    )
