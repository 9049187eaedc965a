"""Pipelines as the process has it that holds the database."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from treadle.data.splits import Split
from treadle.kernel.clock import monotonic
from treadle.kernel.entity import from_plain, replace, to_plain
from treadle.kernel.errors import Conflict
from treadle.kernel.stage import JOB
from treadle.pipelines.advance import Advancing
from treadle.pipelines.conditions import is_left_out
from treadle.pipelines.elements import Element, collected, elements_of
from treadle.pipelines.model import PipelineRun, StepResult, StepRun
from treadle.pipelines.output import check_made
from treadle.pipelines.perform import MadeBefore, Performed, StepTask
from treadle.pipelines.scratch import scratch_folder
from treadle.pipelines.service import STEP_JOB
from treadle.pipelines.step import DEFAULT_SEED, StepPlan
from treadle.pipelines.tables import step_cache
from treadle.pipelines.unseen import check_apart, check_unseen
from treadle.ports.blobs import asked_for
from treadle.ports.sandbox import Allowance, Task
from treadle.ports.tree import fetch_tree, put_untrusted_tree, read_tree

INTO = "treadle-output"
"""The folder, in that in which a step runs, for what it returns."""


class LocalPipelines(Advancing):
    """Pipelines of Python steps; with what runs the steps."""

    @JOB(STEP_JOB)
    def execute(self, payload: Mapping[str, Any]) -> StepResult:
        """Run one step in a sandbox; the process of the step's job calls this.

        Args:
            payload: Payload of the job: the id of the ``pipeline``, the name of the ``step``, and
                for one call of a mapped step the number of its element as ``part``.

        Raises:
            TreadleError: The step failed, or its output cannot be stored.
        """
        pipeline = self.get(pipeline=payload["pipeline"])
        planned = pipeline.planned(payload["step"])
        element = None
        if "part" in payload:
            element = elements_of(self._blobs, pipeline, planned)[payload["part"]]
        with self._database.read() as connection:  # an equal one may have been made meanwhile
            key = self._key(pipeline, planned, element=element)
            made = None if planned.is_fresh else self._cached(connection, key)
        if made is not None:
            return StepResult(output=made["output"], kind=made["kind"], seconds=0.0)
        return self._do(pipeline, payload["step"], "holdout", element)[0]

    def make(self, pipeline: PipelineRun, validated: str) -> PipelineRun:
        """Do all steps of a run that is not stored, one after the other in this process's care.

        No step is begun once every model that may still come would be refused.
        Steps whose outputs are cached are not done again. This is for trials of tuning: the rows
        that they are judged on are held out of their training, and the holdout is in neither.

        Args:
            pipeline: The run, as ``PipelineStarter.prepare`` made it.
            validated: The step whose rows the model is judged on.

        Returns:
            The run with its steps' outputs.

        Raises:
            TreadleError: A step failed.
            Invalid: The model may have learnt from the holdout, or from what it is judged on.
        """
        choosing: set[str] = set()
        models: list[str] = []  # the step that has made the newest model, if one has
        for place, step_plan in enumerate(pipeline.plan):
            ahead = [one.name for one in pipeline.plan[place:] if one.name != validated]
            check_apart(pipeline.plan, [*models, *ahead], validated)
            split: Split = "validation" if step_plan.name == validated else "training"
            step, held_out = self._made_or_skipped(pipeline, step_plan, split)
            choosing |= {step.name} if held_out else set()
            models = [step.name] if step.kind == "model" else models
            pipeline = replace(pipeline, steps=[*pipeline.steps, step])
        check_apart(pipeline.plan, models, validated)
        for model in models:
            check_unseen(pipeline.plan, model, choosing)
        return replace(pipeline, state="succeeded")

    def _made_or_skipped(
        self, pipeline: PipelineRun, step: StepPlan, split: Split
    ) -> tuple[StepRun, bool]:
        """A step of a trial: one call, a call for each element, or none."""
        if is_left_out(self._blobs, pipeline, step):
            return _step_run(step.name, state="skipped", cached=False), False
        if not step.options.element:
            return self._made(pipeline, step, split)
        elements = elements_of(self._blobs, pipeline, step)
        made = [self._made(pipeline, step, split, element) for element in elements]
        parts = [part for part, _ in made]
        output, kind = collected(self._blobs, parts)
        values = {
            "output": output,
            "kind": kind,
            "cached": all(part.cached for part in parts),
            "seconds": round(sum(part.seconds for part in parts), 3),
        }
        whole = _step_run(step.name, key=self._key(pipeline, step, split), **values)
        return whole, bool(made) and all(held_out for _, held_out in made)

    def _made(
        self, pipeline: PipelineRun, step: StepPlan, split: Split, element: Element | None = None
    ) -> tuple[StepRun, bool]:
        """A call of a trial's step, done now or earlier, and whether it has left rows out."""
        key = self._key(pipeline, step, split, element)
        with self._database.read() as connection:
            made = self._cached(connection, key)
            known = select(step_cache.c.held_out).where(step_cache.c.key == key)
            held_out = bool(connection.scalar(known))
        if made is None:
            result, held_out = self._do(pipeline, step.name, split, element)
            with self._database.write() as transaction:
                self._remember(transaction, key, result, pipeline.project, held_out=held_out)
            made = {"output": result.output, "kind": result.kind, "seconds": result.seconds}
        return _step_run(step.name, key=key, **made), held_out

    def _do(
        self, pipeline: PipelineRun, step: str, split: Split, element: Element | None = None
    ) -> tuple[StepResult, bool]:
        """Run one step in a sandbox; also answers whether it has called ``treadle.held_out``."""
        started = monotonic()
        code = fetch_tree(self._blobs, pipeline.code, self._cache / pipeline.code)
        with scratch_folder(self._cache / "steps") as scratch:
            into = scratch / INTO
            into.mkdir()
            task = replace(self._task(pipeline, code, step, into, element), split=split)
            made = [output.folder for output in task.outputs.values()]
            answer = self._sandbox.call(
                Task(
                    function=self._step_function,
                    argument=to_plain(task),
                    readable=[str(code), *made, *task.datasets.values()],
                    scratch=str(scratch),
                    allowance=_allowance(pipeline, step),
                )
            )
            performed = from_plain(answer, Performed)
            digest = put_untrusted_tree(self._blobs, into)
            check_made(performed.kind, read_tree(self._blobs, digest).files)
        seconds = round(monotonic() - started, 3)
        return StepResult(output=digest, kind=performed.kind, seconds=seconds), performed.held_out

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

    def _task(
        self, pipeline: PipelineRun, code: Path, step: str, into: Path, element: Element | None
    ) -> StepTask:
        values: dict[str, Any] = {"seed": DEFAULT_SEED, **pipeline.parameters}
        planned = pipeline.planned(step)
        names = [need.name for need in planned.needs]
        if element is not None:
            names.remove(planned.options.element)
        sources = {name: source for name in names if (source := pipeline.step(name))}
        datasets = {n: d for n, d in pipeline.datasets.items() if n in names and n not in sources}
        given = {name for name in names if name not in sources and name not in datasets}
        outputs = {
            name: MadeBefore(folder=str(self.fetch_output(source)), kind=source.kind)
            for name, source in sources.items()
            if source.kind
        }
        for digest in [*datasets.values(), *(source.output or "" for source in sources.values())]:
            self._reads.note(digest, way="job")
        task = StepTask(
            file=str(code / pipeline.file),
            step=step,
            outputs=outputs,
            datasets={name: str(self._dataset(digest)) for name, digest in datasets.items()},
            values={name: value for name, value in values.items() if name in given},
            asof=pipeline.asof if "asof" in given else None,
            into=str(into),
        )
        return task if element is None else self._with_element(task, pipeline, planned, element)

    def _with_element(
        self, task: StepTask, pipeline: PipelineRun, step: StepPlan, element: Element
    ) -> StepTask:
        """A call of a mapped step: its task, with the element that it receives."""
        parameter = step.options.element
        if element.file:
            digest = pipeline.datasets[step.options.elements]
            self._reads.note(digest, way="job")
            folder = self._cache / "elements" / element.digest
            file = folder / Path(element.file).name
            if not file.exists():
                folder.mkdir(parents=True, exist_ok=True)
                asked_for(self._blobs, tree=digest).fetch(element.digest, file)
            return replace(task, datasets={**task.datasets, parameter: str(file)})
        if element.output:
            self._reads.note(element.output, way="job")
            self._blobs.put(element.tree)
            folder = fetch_tree(self._blobs, element.output, self._cache / element.output)
            made = MadeBefore(folder=str(folder), kind=element.kind)
            return replace(task, outputs={**task.outputs, parameter: made})
        return replace(task, values={**task.values, parameter: element.value})

    def _dataset(self, digest: str) -> Path:
        """The file of a dataset of one file, or the folder of one of many."""
        folder = fetch_tree(self._blobs, digest, self._cache / digest)
        files = list(read_tree(self._blobs, digest).files)
        return folder / files[0] if len(files) == 1 else folder


def _step_run(name: str, **values: Any) -> StepRun:
    """A step that has ended in a run that is not stored."""
    made = {"state": "succeeded", "cached": False, "job": None, "seconds": 0.0, "key": None,
            "output": None, "kind": None, "error": None}  # fmt: skip
    return StepRun(name=name, **{**made, **values})


def _allowance(pipeline: PipelineRun, step: str) -> Allowance:
    """What a step may use: that of the pipeline, with the memory that the step declares."""
    options = pipeline.planned(step).options
    memory = options.memory_bytes or pipeline.allowance.memory_bytes
    return replace(pipeline.allowance, memory_bytes=memory)
