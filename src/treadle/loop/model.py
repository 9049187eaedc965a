from datetime import datetime
from typing import Literal

from treadle.delivery.model import Endpoint, Rollout
from treadle.evaluation.model import Verdict
from treadle.events.model import EventRecord
from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.monitoring.model import Window
from treadle.registry.model import ModelVersion
from treadle.training.model import Training

Outcome = Literal["acted", "braked", "nothing to do", "failed"]


class LoopDecision(Entity):
    """What a rule did about an event, and why. One rule decides once about one event."""

    rule: str
    event: int
    outcome: Outcome
    reason: str
    at: datetime


class ScheduleDue(Event):
    project: str
    schedule: str

    @property
    def subject(self) -> str:
        return f"schedule:{self.project}/{self.schedule}"


class RequirementStatus(Entity):
    """A requirement and what production last showed of it."""

    id: str
    says: str
    bound: str
    value: float | None
    met: bool | None
    measured_at: datetime | None


class ProjectStatus(Entity):
    """One project's whole wheel at a glance."""

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
    waiting: list[str]
    decisions: list[LoopDecision]
    recent: list[EventRecord]
