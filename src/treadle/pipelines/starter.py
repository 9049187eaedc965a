"""Begins pipelines: stores their code, checks their parameters, and makes their first records."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import fields, replace, to_text
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.pipelines.model import (
    PipelineRun,
    PipelineStarted,
)
from treadle.pipelines.step import StepPlan, choose, fresh_from, parse_steps, plan
from treadle.pipelines.tables import pipeline_steps, pipelines
from treadle.ports.blobs import Blobs
from treadle.ports.sandbox import Allowance
from treadle.ports.tree import read_tree


class PipelineStarter:
    """Begins pipelines in the transaction of whoever needs them.

    Args:
        events: The event log.
        clock: The source of time.
        blobs: Where code is stored.
    """

    def __init__(self, events: LocalEvents, clock: Clock, blobs: Blobs) -> None:
        self._events, self._clock, self._blobs = events, clock, blobs

    def prepare(
        self,
        project: str,
        code: str,
        file: str,
        datasets: dict[str, str],
        parameters: dict[str, Any],
        step_timeout_seconds: float = 3600.0,
        allowance: Allowance | None = None,
        *,
        only: Sequence[str] = (),
        fresh: Sequence[str] = (),
        asof: datetime | None = None,
    ) -> PipelineRun:
        """Make a run that can begin: its steps are in order and its parameters are checked.

        Args:
            project: Name of the project.
            code: Digest of the stored tree of code.
            file: Path of the pipeline file within the code.
            datasets: Digest of the dataset version to use by dataset name.
            parameters: Values of pipeline parameters by name.
            step_timeout_seconds: Longest duration of one step, in seconds.
            allowance: What the steps may use; None for the usual limits and no network.
            only: Names of the steps to run, with those that they need; empty for all.
            fresh: Names of steps to run again although their outputs are cached, with those that
                depend on them.
            asof: The time that steps receive as ``asof``; now if None.

        Returns:
            The run, which is not stored yet.

        Raises:
            NotFound: There is no such code, no such file in it, or no such step.
            Invalid: The file has no valid steps, or a parameter is unknown or not finite.
        """
        steps = plan(self._steps_of(code, file), given={*datasets, *parameters})
        _check_parameters(steps, parameters)
        steps = choose(fresh_from(steps, fresh), only)
        if left := [name for name in fresh if name not in [one.name for one in steps]]:
            raise Invalid(
                f"Step '{left[0]}' is not among those that run: "
                + ", ".join(one.name for one in steps)
            )
        return PipelineRun(
            id=new_id("pipe"),
            project=project,
            code=code,
            file=file,
            datasets=datasets,
            parameters=parameters,
            step_timeout_seconds=step_timeout_seconds,
            allowance=allowance or Allowance(),
            plan=steps,
            asof=asof or self._clock.now(),
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

    def _insert(self, transaction: Connection, pipeline: PipelineRun) -> None:
        row = fields(pipeline)
        del row["steps"], row["parts"]
        as_text = ("datasets", "parameters", "allowance", "plan")
        row |= {name: to_text(row[name]) for name in as_text}
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

    def _steps_of(self, code: str, file: str) -> list[StepPlan]:
        files = read_tree(self._blobs, code).files
        if file not in files:
            hint = did_you_mean(file, files)
            raise NotFound(f"There is no pipeline file '{file}' in code {code[:12]}.{hint}")
        return parse_steps(self._blobs.get(files[file].digest), file)


def _check_parameters(steps: list[StepPlan], parameters: dict[str, Any]) -> None:
    """Refuse a parameter that no step asks for, and a number that cannot be kept."""
    needed = {source for step in steps for source in step.sources} | {"seed"}
    for name, value in parameters.items():
        if name not in needed:
            raise Invalid(f"No step asks for the parameter '{name}'.{did_you_mean(name, needed)}")
        if (lost := _not_finite(value)) is not None:
            raise Invalid(
                f"Parameter '{name}' is {lost}, which cannot be kept. Give a finite number."
            )


def _not_finite(value: Any) -> float | None:
    """A number in a value, at any depth, that JSON cannot hold; None where there is none."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    inner = value.values() if isinstance(value, dict) else value
    found = map(_not_finite, inner) if isinstance(value, dict | list | tuple) else iter(())
    return next((one for one in found if one is not None), None)
