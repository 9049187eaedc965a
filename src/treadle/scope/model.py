"""Types of ``treadle.toml``: what people decide about a project."""

import re
from datetime import datetime, timedelta
from typing import Literal

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.event import Event
from treadle.scope.alerting import IncidentPolicy, NotifyRoute
from treadle.scope.data_checks import DataCheck
from treadle.scope.feature_views import FeatureSource
from treadle.scope.policies import RolloutPolicy, ServingPolicy
from treadle.scope.retraining import RetrainPolicy
from treadle.scope.step_schedules import StepSchedule
from treadle.scope.tune import TunePolicy
from treadle.stats.decisions import AT_THRESHOLD
from treadle.stats.ranking import AT_CAPACITY

Task = Literal["binary", "multi-class", "regression", "anomaly"]
"""What is predicted: which of two classes, which of several, a number, or how strange a row is."""

METRIC_OF: dict[Task, str] = {
    "binary": "roc_auc",
    "multi-class": "balanced_accuracy",
    "regression": "r2",
    "anomaly": "roc_auc",
}
"""The metric that a task is judged by where nobody says another."""
METRICS_OF: dict[Task, tuple[str, ...]] = {
    "binary": (
        "roc_auc",
        "log_loss",
        "brier",
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "precision",
        "recall",
        "f1",
        "average_precision",
        *AT_CAPACITY,
        *AT_THRESHOLD,
    ),
    "multi-class": ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "top_3_accuracy"),
    "regression": ("mae", "rmse", "r2"),
    "anomaly": ("roc_auc", "average_precision", *AT_CAPACITY),
}
"""Metrics that labelled rows show, by task."""
OF_REQUESTS = ("latency_ms", "availability")
"""Metrics of single requests; a requirement on one has an objective: the share that is good."""
OF_WINDOWS = ("freshness_days",)
"""Metrics of windows that need an objective, too: the share of windows that is good."""
FROM_PRODUCTION = ("latency_ms.p99", *OF_REQUESTS, *OF_WINDOWS)
"""Metrics that only production shows; a requirement can name any of them."""


class About(Entity):
    """Table ``[project]``: what is built, why, and who answers for it.

    All fields but the name inform people and decide nothing.

    Attributes:
        name: Name of the project: lower-case letters, digits and hyphens, 63 at most.
        problem: The problem that the model solves.
        owner: Who answers for the model.
        users: Who uses its answers.
        risk: How much harm wrong answers do.
        budget: What the project may cost.
    """

    name: str
    problem: str = ""
    owner: str = ""
    users: str = ""
    risk: Literal["low", "medium", "high"] = "medium"
    budget: str = ""


class Keep(Entity):
    """Which rows of a dataset are learnt from; all where nothing is given.

    Attributes:
        rows: Number of the newest rows; 0 for no limit.
        span: Age of the oldest row, or None.
    """

    rows: int = 0
    span: timedelta | None = None

    @property
    def everything(self) -> bool:
        """Whether all rows are learnt from."""
        return not self.rows and self.span is None


class DataSource(Entity):
    """Table ``[data.NAME]``: where a dataset comes from, and what it is.

    Owner, licence and sensitivity are an inventory: they are kept with every version of the file
    and decide nothing. ``sensitive`` does.

    Attributes:
        source: File or folder of the dataset, relative to the project's folder.
        label: Column to predict; only the dataset that the model learns from has one.
        task: What is predicted: ``binary`` (two classes), ``multi-class``, ``regression`` (a
            number) or ``anomaly`` (how strange a row is; a label is not needed). Empty: ``treadle
            check`` reads it from the label's values, and asks when in doubt.
        id: Column that names a row, and so the request that asks about it.
        label_delay: How long after a prediction its label is known, as a duration.
        label_time: Column with the moment at which a row's label became known, for backtests; where
            it is missing, ``time`` plus ``label_delay``.
        time: Column with the time of a row; rows are kept in its order.
        learn_from: Where rows to learn from come from: the ``source`` alone, or ``source and
            answers``: answered requests become rows when their labels have come.
        positive: Word of the label column that the label 1 means, where it holds two words.
        new_classes: Words that the label column does not hold yet and that production has shown to
            be classes, too; other words that it does not hold are refused as slips of the pen.
        keep: Which rows are learnt from: ``all``, the newest, such as ``50000 rows``, or those of
            the last time, such as ``90d``.
        share: Share of the labelled answers that becomes rows.
        owner: Who answers for the data.
        licence: Terms under which the data may be used.
        sensitivity: How sensitive the data are.
        sensitive: Whether each read of its rows is told in the event log.
        checks: What is expected of its rows before a version of it is taken.
    """

    source: str
    label: str | None = None
    task: Literal["", "binary", "multi-class", "regression", "anomaly"] = ""
    id: str | None = None
    label_delay: str = "0s"
    label_time: str | None = None
    time: str | None = None
    learn_from: Literal["source", "source and answers"] = "source"
    positive: str | None = None
    new_classes: list[str] = []
    keep: str = "all"
    share: str = "100%"
    owner: str = ""
    licence: str = ""
    sensitivity: str = ""
    sensitive: bool = False
    checks: list[DataCheck] = []

    @property
    def is_learnt_from(self) -> bool:
        """Whether the model learns from it: it has a label, or its anomalies are looked for."""
        return self.label is not None or self.task == "anomaly"

    @property
    def learns_from_answers(self) -> bool:
        """Whether answered requests become rows."""
        return self.learn_from == "source and answers"

    @property
    def kept(self) -> Keep:
        """Which rows are learnt from, as ``keep`` says.

        Raises:
            Invalid: ``keep`` is malformed.
        """
        if self.keep == "all":
            return Keep()
        if match := re.fullmatch(r"([1-9]\d*) rows", self.keep):
            return Keep(rows=int(match[1]))
        try:
            return Keep(span=duration(self.keep))
        except Invalid as error:
            raise Invalid(
                f"'{self.keep}' says not which rows are kept. Write all, a number such as "
                "'50000 rows', or an age such as '90d'."
            ) from error


class Requirement(Entity):
    """Table ``[[requirement]]``: a bound on a metric that gates promotion and watches production.

    Exactly one of ``at_least`` and ``at_most`` is given; for ``availability`` neither. With an
    objective it is a service level objective (SLO), too, which has an error budget.

    Attributes:
        id: Id of the requirement, unique in the file.
        metric: Name of the metric, such as ``roc_auc``.
        says: What the requirement means, in words.
        at_least: Smallest value that meets the requirement.
        at_most: Largest value that meets the requirement.
        baseline: What the bound was compared with when it was chosen, in words.
        objective: Share of the requests or windows that has to meet the bound, such as ``99.9%``;
            empty for no objective.
        over: Period of the objective, in whole days.
        runbook: URL or path of what to do when it is missed.
    """

    id: str
    metric: str
    says: str = ""
    at_least: float | None = None
    at_most: float | None = None
    baseline: str = ""
    objective: str = ""
    over: str = "30d"
    runbook: str = ""

    @property
    def bound(self) -> str:
        """The bound as text, such as ``roc_auc ≥ 0.62``, with the objective if there is one."""
        condition = self.condition
        return f"{condition} for {self.objective} over {self.over}" if self.objective else condition

    @property
    def condition(self) -> str:
        """What one value has to meet, as text, such as ``latency_ms ≤ 250``."""
        if self.at_least is not None:
            return f"{self.metric} ≥ {self.at_least:.12g}"
        return self.metric if self.at_most is None else f"{self.metric} ≤ {self.at_most:.12g}"

    @property
    def limit(self) -> float | None:
        """The bound as a number; None for ``availability``, which has none."""
        return self.at_least if self.at_least is not None else self.at_most

    @property
    def is_of_requests(self) -> bool:
        """Whether each request meets the bound or not; else each window of monitoring does."""
        return self.metric in OF_REQUESTS

    @property
    def objective_share(self) -> float:
        """The objective as a number, such as 0.999; 0 where there is none."""
        return round(float(self.objective[:-1]) / 100, 12) if self.objective else 0.0

    def met_by(self, value: float) -> bool:
        """Whether a value of the metric meets the requirement.

        Args:
            value: Value of the metric, in the metric's own unit.
        """
        enough = self.at_least is None or value >= self.at_least
        return enough and (self.at_most is None or value <= self.at_most)


Parameter = str | int | float | bool
"""A value of a pipeline parameter; a step that is mapped takes a list of such."""


class PipelineFile(Entity):
    """Table ``[pipeline]``: the Python file that holds the steps.

    Attributes:
        file: Path of the file, relative to the project's folder.
        step_timeout: Longest duration of one step.
        parameters: Values of pipeline parameters by name; a training may override them.
        network: Whether steps may use the network.
        memory_gb: Memory that one process of a step may take, in GB; 0 for nine tenths of the
            machine's.
        disk_gb: Size that the files of a step may have together, in GB; 0 for half of what is free.
        cpu_time: Processor time that one process of a step may take; empty for any.
    """

    file: str = "pipeline.py"
    step_timeout: str = "1h"
    network: bool = False
    memory_gb: float = 0
    disk_gb: float = 0
    cpu_time: str = ""
    parameters: dict[str, Parameter | list[Parameter]] = {}


class MonitoringPolicy(Entity):
    """Table ``[monitoring]``: how production is observed.

    Attributes:
        window: Duration of one window of requests.
        min_labels: Number of labelled requests from which quality is judged.
        effect: Smallest population stability index (PSI) that counts as drift.
    """

    window: str = "1d"
    min_labels: int = 100
    effect: float = 0.1


class ProjectSpec(Entity):
    """All of ``treadle.toml``.

    Attributes:
        project: Table ``[project]``.
        data: Tables ``[data.NAME]`` by name.
        features: Tables ``[features.NAME]`` by name.
        requirement: Tables ``[[requirement]]`` in order.
        pipeline: Table ``[pipeline]``.
        rollout: Table ``[rollout]``.
        serving: Table ``[serving]``.
        retrain: Table ``[retrain]``.
        monitoring: Table ``[monitoring]``.
        incidents: Table ``[incidents]``.
        notify: Tables ``[[notify]]`` in order.
        schedule: Tables ``[[schedule]]`` in order.
        tune: Table ``[tune]``, or None.
    """

    project: About
    data: dict[str, DataSource] = {}
    features: dict[str, FeatureSource] = {}
    requirement: list[Requirement] = []
    pipeline: PipelineFile = PipelineFile()
    rollout: RolloutPolicy = RolloutPolicy()
    serving: ServingPolicy = ServingPolicy()
    retrain: RetrainPolicy = RetrainPolicy()
    monitoring: MonitoringPolicy = MonitoringPolicy()
    incidents: IncidentPolicy = IncidentPolicy()
    notify: list[NotifyRoute] = []
    schedule: list[StepSchedule] = []
    tune: TunePolicy | None = None

    @property
    def learnt(self) -> DataSource | None:
        """The dataset that the model learns from, or None."""
        return next((source for source in self.data.values() if source.is_learnt_from), None)

    @property
    def labelled(self) -> DataSource | None:
        """The dataset that the model learns from, where that has a label; or None."""
        return next((source for source in self.data.values() if source.label), None)


class Project(Entity):
    """A project as it was last declared.

    Attributes:
        name: Name of the project.
        spec: Content of its ``treadle.toml``.
        folder: Its folder on the machine that runs it, or '' when it has none there.
        digest: Digest of the specification.
        declared_at: Time of the last change.
    """

    name: str
    spec: ProjectSpec
    folder: str
    digest: str
    declared_at: datetime

    @property
    def project(self) -> str:
        """The project's own name, as other entities name their project."""
        return self.name


class ProjectDeclared(Event):
    """A project's specification or folder was declared or changed."""

    project: str
    digest: str
    requirements: list[str]

    @property
    def subject(self) -> str:
        return f"project:{self.project}"

    @property
    def makes(self) -> tuple[str, ...]:
        return (
            f"spec:{self.digest}",
            *(f"requirement:{self.project}/{name}" for name in self.requirements),
        )
