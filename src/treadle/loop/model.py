"""Types of the loop: its decisions, and a project's status across all stages."""

from datetime import datetime
from typing import Literal

from treadle.delivery.model import Endpoint, Rollout
from treadle.evaluation.model import Verdict
from treadle.events.model import EventRecord
from treadle.incidents.model import Incident
from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.monitoring.model import Window
from treadle.monitoring.slo.model import SloStatus
from treadle.ports.sandbox import Strength
from treadle.registry.model import ModelVersion
from treadle.training.model import NewRows, Training

Outcome = Literal["acted", "braked", "nothing to do", "failed"]


class LoopDecision(Entity):
    """What a rule did about an event, and why. A rule decides once about an event.

    Attributes:
        rule: The rule's name, such as `retrain on drift`.
        event: The event's number in the event log.
        outcome: What came of it; `braked` is an action that a declared limit held back.
        reason: One sentence: what was done, or why nothing was.
        at: When the rule decided.
        project: The project of the event; None for an event of none.
    """

    rule: str
    event: int
    outcome: Outcome
    reason: str
    at: datetime
    project: str | None


class ScheduleDue(Event):
    """A moment of a declared retraining schedule has passed."""

    project: str
    schedule: str

    @property
    def subject(self) -> str:
        return f"schedule:{self.project}/{self.schedule}"


class StepsDue(Event):
    """A moment of a schedule of steps has come, or data that it waits for."""

    project: str
    schedule: str
    steps: list[str]
    moment: datetime

    @property
    def subject(self) -> str:
        return f"schedule:{self.project}/{self.schedule}"


class RequirementStatus(Entity):
    """A requirement and its newest measurement in production.

    Attributes:
        id: The requirement's id in `treadle.toml`.
        says: The requirement in words.
        bound: The bound in words, such as `at least 0.62`.
        value: The newest measured value, or the share of good events where it has an objective;
            None where nothing has been measured.
        met: Whether that value meets the bound; None where nothing has been measured.
        measured_at: The end of the window that the value is of.
        estimate: The metric's newest estimate without labels; None where there is none. It holds
            while the relation of inputs and truth has not changed.
        estimated_at: The end of the window that the estimate is of.
    """

    id: str
    says: str
    bound: str
    value: float | None
    met: bool | None
    measured_at: datetime | None
    estimate: float | None = None
    estimated_at: datetime | None = None


class Concern(Entity):
    """Something in production that is out of bounds now.

    Attributes:
        kind: What it is: drift, a missed requirement, a stale model, missing labels, a finding of
            another monitor, or a failed monitor.
        event: Number of that event, for ``treadle why``.
        says: What is out of bounds, with its numbers.
        since: Start of the first of the windows without a break in which it holds.
        windows: Number of those windows.
        rows: Answers in the newest of them.
        harm: Whether the model suffers, by what labels or estimates say.
        decision: What the loop did about it, or why it did nothing; empty before it has decided.
    """

    kind: str
    event: int
    says: str
    since: datetime
    windows: int
    rows: int
    harm: str
    decision: str


class ProjectStatus(Entity):
    """One project's whole wheel at a glance.

    Attributes:
        concerns: What is out of bounds in production now.
        sandbox: How steps are confined; None where no step runs, since the strength that was
            declared cannot be had.
        new_rows: What has come since the champion was trained.
        objectives: Requirements with an objective, with their error budgets and alerts.
        incidents: Incidents that are not resolved, the most urgent first.
    """

    project: str
    problem: str
    owner: str
    requirements: list[RequirementStatus]
    endpoints: list[Endpoint]
    champion: ModelVersion | None
    training: Training | None
    verdict: Verdict | None
    rollout: Rollout | None
    window: Window | None
    concerns: list[Concern]
    waiting: list[str]
    decisions: list[LoopDecision]
    recent: list[EventRecord]
    sandbox: Strength | None
    new_rows: NewRows | None
    objectives: list[SloStatus] = []
    incidents: list[Incident] = []
