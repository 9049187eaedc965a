"""The types of ``treadle.toml``: what people decide about a project."""

import re
from datetime import datetime, timedelta
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.event import Event

FROM_LABELS = (
    "roc_auc",
    "log_loss",
    "brier",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "mae",
    "rmse",
    "r2",
)
FROM_PRODUCTION = ("latency_ms.p99",)
"""The metrics that a requirement can name: those that labelled rows show, and those that only production shows."""

TRIGGERS = ("drift", "missed requirement")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Read ``90s``, ``15m``, ``12h``, ``30d`` or ``2w``. Raises Invalid for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if not found:
        raise Invalid(
            f"'{text}' is not a duration. Write a number and a unit, such as 90s, 15m, 12h, 30d or 2w."
        )
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError as error:
        raise Invalid(f"'{text}' is longer than any clock can count.") from error


class About(Entity):
    """``[project]``: what is built, why, and who answers for it. All but the name is told to people, and decides nothing."""

    name: str
    problem: str = ""
    owner: str = ""
    users: str = ""
    risk: Literal["low", "medium", "high"] = "medium"
    budget: str = ""


class DataSource(Entity):
    """``[data.NAME]``: where a dataset comes from, and what it is. The label's name marks the dataset that is learnt from.

    ``id`` is the column that names a row, and so the request that asks about it. Owner, licence and sensitivity are the inventory: kept with every version of this file, they decide nothing.
    """

    source: str
    label: str | None = None
    id: str | None = None
    label_delay: str = "0s"
    owner: str = ""
    licence: str = ""
    sensitivity: str = ""


class Requirement(Entity):
    """``[[requirement]]``: gates promotion and watches production. ``metric`` is a name such as ``roc_auc``."""

    id: str
    metric: str
    says: str = ""
    at_least: float | None = None
    at_most: float | None = None
    baseline: str = ""

    @property
    def bound(self) -> str:
        return (
            f"{self.metric} ≥ {self.at_least:g}"
            if self.at_least is not None
            else f"{self.metric} ≤ {self.at_most:g}"
        )

    def met_by(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


class PipelineFile(Entity):
    """``[pipeline]``: the Python file that holds the steps, what they are given by default, and how long one may run."""

    file: str = "pipeline.py"
    step_timeout: str = "1h"
    parameters: dict[str, str | int | float | bool] = {}


class RolloutPolicy(Entity):
    """``[rollout]``: ``shadow`` and shares of traffic in order; ``hold`` is how long each step lasts at least.

    Steps may also be ``ab`` (or ``ab 30%``) and ``bandit``: the labels are rewards then, and who is worth more is promoted; an experiment
    that has shown nothing within ``experiment`` ends with the champion. ``strategy`` names usual steps instead of them.
    ``max_shift`` is how far predictions may be spread otherwise than the champion's (Kolmogorov-Smirnov), ``max_disagreement`` how many
    mirrored requests a shadow may answer differently; both are off unless declared. ``error_margin`` (such as ``1%``): a step is passed only when the newcomer is shown to fail at most this much more often.
    ``wait_for_labels``: how long after they are due the labels that quality is judged on are waited for; ``without_labels``
    is what happens then. ``four_eyes``: who approves is not who deploys. ``freeze``: when no step is taken, such as
    ``Fri 15:00 to Mon 08:00`` or ``2026-12-20 to 2027-01-03``, in UTC.
    """

    strategy: Literal["canary", "rolling", "blue/green", "shadow", "ab", "bandit"] = "canary"
    steps: list[str] = []
    hold: str = "0s"
    min_requests: int = 50
    error_margin: str = ""
    max_shift: str = ""
    max_disagreement: str = ""
    experiment: str = "14d"
    wait_for_labels: str = ""
    without_labels: Literal["promote", "hold", "roll back"] = "hold"
    approve: list[Literal["production"]] = []
    four_eyes: bool = False
    freeze: list[str] = []
    automatic: bool = True

    @property
    def way(self) -> list[str]:
        """The steps that a rollout goes."""
        return self.steps or STRATEGIES[self.strategy]


STRATEGIES = {
    "canary": ["shadow", "10%", "50%", "100%"],
    "rolling": ["25%", "50%", "75%", "100%"],
    "blue/green": ["100%"],
    "shadow": ["shadow", "100%"],
    "ab": ["ab", "100%"],
    "bandit": ["bandit", "100%"],
}


class ServingPolicy(Entity):
    """``[serving]``: ``log`` is the part of the requests whose predictions are kept, while no rollout needs them all.

    ``without_log`` says what happens while the log cannot be written, as on a full disk: ``refuse`` to answer, or ``serve`` unlogged.
    With ``max_replicas`` there are from ``replicas`` (0 as well) to as many, one for every ``concurrency`` requests in hand, and with
    ``forecast`` they are there before the load that the same hour brought in the weeks before.
    """

    log: str = "100%"
    without_log: Literal["refuse", "serve"] = "refuse"
    replicas: int = 1
    max_replicas: int = 0
    concurrency: float = 8.0
    forecast: bool = True

    @property
    def scales(self) -> bool:
        return self.max_replicas > 0


class RetrainPolicy(Entity):
    """``[retrain]``: what starts a training, and the brakes on it."""

    when: list[str] = []
    cooldown: str = "1d"
    budget_per_month: int = 8
    max_depth: int = 12

    @property
    def older_than(self) -> timedelta | None:
        """The age from which a live model is stale, if one is declared."""
        ages = [
            duration(text.removeprefix("older than "))
            for text in self.when
            if text.startswith("older than ")
        ]
        return min(ages, default=None)

    @property
    def schedules(self) -> list[str]:
        """The triggers that are cron expressions."""
        return [
            text
            for text in self.when
            if text not in TRIGGERS and not text.startswith("older than ")
        ]


class MonitoringPolicy(Entity):
    """``[monitoring]``: how production is looked at. ``effect`` is the smallest PSI that counts as drift."""

    window: str = "1d"
    min_labels: int = 100
    effect: float = 0.1


class ProjectSpec(Entity):
    """All of ``treadle.toml``."""

    project: About
    data: dict[str, DataSource] = {}
    requirement: list[Requirement] = []
    pipeline: PipelineFile = PipelineFile()
    rollout: RolloutPolicy = RolloutPolicy()
    serving: ServingPolicy = ServingPolicy()
    retrain: RetrainPolicy = RetrainPolicy()
    monitoring: MonitoringPolicy = MonitoringPolicy()

    @property
    def labelled(self) -> DataSource | None:
        """The dataset that is learnt from."""
        return next((source for source in self.data.values() if source.label), None)


class Project(Entity):
    """A project as it was last declared: its file, its digest, and the folder it lies in on the machine that runs it (or nothing)."""

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
