"""Pipelines as the process has it that holds the database."""

import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle.kernel.clock import monotonic
from treadle.kernel.errors import Conflict
from treadle.kernel.stage import JOB
from treadle.pipelines import output
from treadle.pipelines.advance import Advancing
from treadle.pipelines.model import (
    PipelineRun,
    StepResult,
    StepRun,
)
from treadle.pipelines.service import STEP_JOB
from treadle.pipelines.step import load_steps
from treadle.ports.tree import fetch_tree, read_tree


class LocalPipelines(Advancing):
    """Pipelines of Python steps; with what runs the steps."""

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
