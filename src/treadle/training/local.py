"""Training as the process has it that holds the database."""

from typing import Any

from treadle.kernel.errors import NotFound
from treadle.kernel.event import acting
from treadle.kernel.stage import RECONCILE
from treadle.pipelines.model import PipelineRun
from treadle.tracking.model import Metric
from treadle.training.model import (
    Training,
    TrainingFailed,
    TrainingFinished,
)
from treadle.training.service import HOLDOUT, TrainingService
from treadle.training.tables import trainings


class LocalTraining(TrainingService):
    """Trainings of a project's model; with what settles them."""

    @RECONCILE()
    def reconcile(self) -> int:
        """Settle every training whose pipeline has ended.

        Returns:
            How many trainings were settled.
        """
        return sum(self._settle(training) for training in self.find(state="running", limit=100_000))

    def nothing_new(self, project: str, run: str) -> str | None:
        """Why a training would learn nothing that an earlier one has not, or None.

        Args:
            project: Name of the project.
            run: Run of the earlier training, as that of the champion.

        Returns:
            What it would have to wait for, in a sentence.
        """
        try:
            before = self._pipelines.get(pipeline=self.get(run=run).pipeline)
        except NotFound:
            return None  # the champion was not trained here
        spec = self._scope.project(name=project).spec
        code, grown, values = self._inputs(project, None)
        asked = {source for step in before.plan for source in step.sources}
        if "asof" in asked or code != before.code or values != before.parameters:
            return None
        sources = {name: self._growth.made_of(project, d) for name, d in before.datasets.items()}
        if {name: one.source for name, one in grown.items()} != {
            name: one.source for name, one in sources.items()
        }:
            return None
        unchanged = "nothing new to learn from: no source has changed"
        if spec.labelled is None or not spec.labelled.learns_from_answers:
            return f"{unchanged}, and answers are not learnt from ([data.NAME] learn_from)"
        came = sum(one.collected for one in grown.values())
        came -= sum(one.collected for one in sources.values())
        if came >= spec.retrain.min_new_labels:
            return None
        return (
            f"{unchanged}, and {came} of {spec.retrain.min_new_labels} labelled answers have come"
        )

    inputs = TrainingService._inputs

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
        """Complete the run, then the training; a crash between them repeats the former."""
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
            values = {"state": "succeeded", "package": package, "holdout": holdout}
            change = trainings.update().where(_running(training)).values(values)
            if not transaction.execute(change).rowcount:
                return
            event = TrainingFinished(
                run=training.run, project=training.project, package=package, holdout=holdout
            )
            self._events.append(transaction, event)

    def _fail(self, training: Training, error: str) -> None:
        self._tracking.finish_run(run=training.run, status="failed")
        with self._database.write() as transaction:
            values = {"state": "failed", "error": error}
            change = trainings.update().where(_running(training)).values(values)
            if not transaction.execute(change).rowcount:
                return
            event = TrainingFailed(run=training.run, project=training.project, error=error)
            self._events.append(transaction, event)


def _running(training: Training) -> Any:
    """The condition that nobody has settled a training yet."""
    return (trainings.c.run == training.run) & (trainings.c.state == "running")


def outcome_of(pipeline: PipelineRun) -> tuple[str | None, str | None]:
    """What a pipeline made for the model's verdict.

    Args:
        pipeline: A pipeline run that has ended.

    Returns:
        The digest of the packaged model and that of the holdout table, each None when it was not
            made.
    """
    models = [step.output for step in pipeline.steps if step.kind == "model"]
    holdout = pipeline.step(HOLDOUT)
    table = holdout.output if holdout and holdout.kind == "table" else None
    return (models[-1], table) if models and pipeline.state == "succeeded" else (None, table)


def _incomplete(package: str | None) -> str:
    if package is None:
        return (
            "No step returned a treadle.Model, so there is nothing to judge or deploy. "
            "Where no model is wanted, run a step by itself: treadle run --only STEP"
        )
    return (
        f"There is no step '{HOLDOUT}' that returns a table, "
        "so the model cannot be judged on rows it has not seen."
    )
