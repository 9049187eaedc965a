"""Tuning as the process has it that holds the database; with what plans and runs trials."""

from collections.abc import Mapping
from typing import Any

from treadle.data.service import Data
from treadle.evaluation.local import LocalEvaluation
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock, duration
from treadle.kernel.errors import Invalid
from treadle.kernel.event import acting
from treadle.pipelines.local import LocalPipelines
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.starter import PipelineStarter
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database
from treadle.ports.tree import read_tree
from treadle.ports.tuner import Bound, Range, SearchPlan, TunerOver
from treadle.scope.local import LocalScope
from treadle.scope.model import METRICS_OF, ProjectSpec
from treadle.scope.tune import OF_PACKAGES, TunePolicy
from treadle.stats.families import family
from treadle.tracking.local import LocalTracking
from treadle.training.local import LocalTraining, outcome_of
from treadle.training.service import HOLDOUT, allowance_of
from treadle.tuning.model import Study, StudyPlan, TrialSource
from treadle.tuning.reading import plan_in
from treadle.tuning.service import Tuning
from treadle.tuning.trials import Trials


class LocalTuning(Tuning):
    """Studies that search for hyper-parameters."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        tracking: LocalTracking,
        trials: Trials,
        tuner_over: TunerOver,
        blobs: Blobs,
        scope: LocalScope,
        data: Data,
        pipelines: LocalPipelines,
        starter: PipelineStarter,
        training: LocalTraining,
        evaluation: LocalEvaluation,
    ) -> None:
        super().__init__(database, events, clock, tracking, trials, tuner_over)
        self._blobs, self._scope, self._data = blobs, scope, data
        self._pipelines, self._starter = pipelines, starter
        self._training, self._evaluation = training, evaluation

    def start_of(self, project: str, name: str, trials: int | None = None) -> Study:
        """Begin a study that trains a project's own code on its own data.

        Args:
            project: Name of the project.
            name: Name of the study, unique in the home.
            trials: Largest number of trials; None for what ``[tune]`` says.

        Returns:
            The study.

        Raises:
            Invalid: As ``plan_of`` says.
            Conflict: There is a study of this name.
        """
        return self._start(project, name, self.plan_of(project, trials))

    def plan_of(self, project: str, trials: int | None = None) -> StudyPlan:
        """What a project's next study searches for; its code and data are stored for that.

        Args:
            project: Name of the project.
            trials: Largest number of trials; None for what ``[tune]`` says.

        Returns:
            The plan; nothing has begun yet.

        Raises:
            Invalid: ``[tune]`` is missing, the space cannot be sampled, no step takes a parameter,
                nothing measures a metric, or it needs labels and none are declared.
        """
        spec = self._scope.project(name=project).spec
        policy = spec.tune
        if policy is None:
            raise Invalid(
                f"Project '{project}' does not say what to tune. Declare a space in treadle.toml: "
                "[tune.space] with one line such as: rate = { low = 0.01, high = 1.0, log = true }"
            )
        metrics = _metrics(spec, policy)
        search = SearchPlan(
            space=policy.space,
            directions=policy.directions(metrics),
            sampler=policy.sampler,
            seed=policy.seed,
        )
        self._tuner.check(search)
        code, grown, parameters = self._training.inputs(project, None)
        source = TrialSource(
            code=code,
            file=spec.pipeline.file,
            datasets={name: version.digest for name, version in grown.items()},
            parameters={k: v for k, v in parameters.items() if k not in policy.space},
        )
        first = {name: drawn.low if isinstance(drawn, Range) else drawn[0]
                 for name, drawn in policy.space.items()}  # fmt: skip
        if HOLDOUT not in [step.name for step in self._pipeline(spec, source, first).plan]:
            raise Invalid(f"There is no step '{HOLDOUT}', so a trial cannot be judged.")
        constraints = {
            name: Bound.read(text, f"tune.constraint.{name}")
            for name, text in policy.constraint.items()
        }
        return StudyPlan(
            search=search,
            metrics=metrics,
            constraints=constraints,
            trials=policy.trials if trials is None else trials,
            source=source,
        )

    def perform(self, *, study: str, number: int) -> dict[str, float]:
        """Train and judge one trial of a project's study.

        The model learns from the training rows without a validation part, on which it is judged;
        the holdout is in neither. The packaged model is kept with the trial's run.

        Args:
            study: Name of the study.
            number: Number of the trial.

        Returns:
            What was measured, by metric.

        Raises:
            TreadleError: A step failed, or the model could not be judged.
        """
        with self._database.read() as connection:
            row, trial = self._present(connection, study, number)
        plan = plan_in(row)
        source = plan.source
        if source is None:
            raise Invalid(f"Study '{study}' brings its own objective. Go on where it began.")
        spec = self._scope.project(name=row.project).spec
        with acting("tuning"):
            made = self._pipelines.make(self._pipeline(spec, source, trial.params), HOLDOUT)
            package, validation = outcome_of(made)
            if package is None or validation is None:
                raise Invalid("The steps made no model with rows to judge it on.")
            size = read_tree(self._blobs, package).bytes
            self._tracking.add_artifact(
                run=trial.run or "", path="model", digest=package, bytes=size
            )
            return self._measure(spec, plan, package, validation, size)

    def _measure(
        self, spec: ProjectSpec, plan: StudyPlan, package: str, validation: str, size: int
    ) -> dict[str, float]:
        wanted = [*plan.metrics, *plan.constraints]
        of_rows = [name for name in wanted if name not in OF_PACKAGES]
        learnt = spec.learnt
        measured = {"size_mb": size / 1e6}
        if learnt is not None and learnt.label and of_rows:
            measured |= self._evaluation.measure(
                project=spec.project.name,
                package=package,
                holdout=validation,
                label=learnt.label,
                metrics=of_rows,
            )
        if "latency_ms" in wanted:
            measured["latency_ms"] = self._evaluation.latency_ms(
                project=spec.project.name, package=package, holdout=validation
            )
        return measured

    def _pipeline(
        self, spec: ProjectSpec, source: TrialSource, params: Mapping[str, Any]
    ) -> PipelineRun:
        return self._starter.prepare(
            spec.project.name,
            source.code,
            source.file,
            source.datasets,
            {**source.parameters, **params},
            duration(spec.pipeline.step_timeout).total_seconds(),
            allowance_of(spec.pipeline),
        )


def _metrics(spec: ProjectSpec, policy: TunePolicy) -> list[str]:
    """What a study optimises: what is declared, else the metric of the first requirement."""
    task = spec.learnt.task if spec.learnt else ""
    measurable = METRICS_OF[task] if task else None
    named = (
        policy.metrics
        or [
            one.metric
            for one in spec.requirement
            if measurable is None or family(one.metric) in measurable
        ][:1]
    )
    if not named:
        raise Invalid("Field 'tune.metric': say what is optimised, such as metric = \"roc_auc\".")
    for name in named:
        if measurable is not None and family(name) not in (*measurable, *OF_PACKAGES):
            raise Invalid(
                f"Field 'tune.metric': nothing measures '{name}' of a {task} task. Use one of "
                f"{', '.join((*measurable, *OF_PACKAGES))}."
            )
    judged = [name for name in (*named, *policy.constraint) if name not in OF_PACKAGES]
    if judged and not (spec.learnt and spec.learnt.label):
        raise Invalid(
            f"Field 'tune.metric': '{judged[0]}' is measured on labelled rows, and treadle.toml "
            'names no label. Name its column: [data.NAME] label = "..."'
        )
    return named
