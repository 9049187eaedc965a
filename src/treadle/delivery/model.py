from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

RolloutState = Literal["waiting", "running", "paused", "promoted", "rolled back", "aborted"]
Decision = Literal["promote", "hold", "roll back", "not enough evidence"]


class GateResult(Entity):
    """What one gate says of a rollout's step, and the numbers it says it on."""

    gate: str
    decision: Decision
    reason: str


class Rollout(Entity):
    """A version on its way into an endpoint. ``position`` is the index of the current step; -1 while it waits.

    ``part`` is its share of the requests where that is not its step's: a bandit's.
    """

    id: str
    endpoint: str
    model: str
    number: int
    previous: int | None
    steps: list[str]
    position: int
    hold_seconds: float
    min_requests: int
    state: RolloutState
    reason: str
    gates: list[GateResult]
    step_started_at: datetime
    created_at: datetime
    ended_at: datetime | None
    actor: str
    cause: int | None
    part: float | None

    @property
    def version(self) -> str:
        return f"{self.model}:{self.number}"

    @property
    def step(self) -> str:
        return self.steps[self.position] if self.position >= 0 else "waiting"


class Endpoint(Entity):
    """A place that answers. ``champion`` is the version number that answers by default; ``urls`` where it does so now."""

    name: str
    project: str
    model: str
    champion: int | None
    generation: int
    created_at: datetime
    urls: list[str]
    ready: bool


class ExpectedLoad(Entity):
    """What an hour is expected to bring in its busier minutes: requests in hand, requests a second, and the replicas that takes."""

    hour: datetime
    concurrency: float
    per_second: float
    replicas: int


class EndpointCreated(Event):
    endpoint: str
    project: str
    model: str

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class EndpointScaled(Event):
    """That an endpoint should have more replicas, or fewer."""

    endpoint: str
    project: str
    before: int
    replicas: int
    reason: str

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class EndpointRemoved(Event):
    endpoint: str
    project: str
    model: str

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class _RolloutEvent(Event):
    rollout: str
    endpoint: str
    project: str
    model: str
    number: int

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"

    @property
    def uses(self) -> tuple[str, ...]:
        return (f"version:{self.model}:{self.number}",)


class RolloutStarted(_RolloutEvent):
    steps: list[str]


class RolloutAdvanced(_RolloutEvent):
    step: str
    reason: str


class RolloutPromoted(_RolloutEvent):
    reason: str
    previous: int | None

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"live:{self.endpoint}",)


class RolloutRolledBack(_RolloutEvent):
    step: str
    reason: str


class RolloutAborted(_RolloutEvent):
    reason: str


class RolloutPaused(_RolloutEvent):
    step: str
    reason: str


class RolloutResumed(_RolloutEvent):
    step: str
    reason: str
