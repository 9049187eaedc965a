"""Types of delivery: endpoints, rollouts, and the events of both."""

from datetime import datetime
from typing import Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event
from treadle.ports.target import ReplicaExits

RolloutState = Literal["waiting", "running", "paused", "promoted", "rolled back", "aborted"]
Decision = Literal["promote", "hold", "roll back", "not enough evidence"]


class GateResult(Entity):
    """What a gate decides about a rollout's step, and the numbers that decide it.

    Attributes:
        gate: The gate's name.
        decision: What the gate decides.
        reason: One sentence with the numbers.
    """

    gate: str
    decision: Decision
    reason: str


class Rollout(Entity):
    """A version on its way into an endpoint.

    Attributes:
        id: The rollout's id.
        endpoint: The endpoint's name.
        model: The model's name.
        number: The version that is rolled out.
        previous: The champion's version when the rollout began; None for the first.
        steps: The steps in order, such as `shadow`, `10%` and `100%`.
        position: The index of the current step; -1 while the rollout waits for approval.
        hold_seconds: How long each step lasts at least.
        min_requests: How many requests each step needs at least.
        state: Where the rollout stands.
        reason: Why it stands there.
        gates: The newest results of the gates.
        step_started_at: When the current step began.
        created_at: When the rollout was created.
        ended_at: When it ended; None while it is under way.
        actor: Who began it.
        cause: The number of the event that caused it, or None.
        part: The share of the requests from 0 to 1 where a bandit sets it; None for the step's.
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
        """The version's reference, `MODEL:NUMBER`."""
        return f"{self.model}:{self.number}"

    @property
    def step(self) -> str:
        """The current step; `waiting` before the first."""
        return self.steps[self.position] if self.position >= 0 else "waiting"


class Endpoint(Entity):
    """A name under which a model's versions answer.

    Attributes:
        name: The endpoint's name.
        project: The project that it belongs to.
        model: The model whose versions it serves.
        champion: The version that answers by default; None before the first.
        generation: A number that rises with each change of what is served.
        created_at: When it was created.
        urls: Where it answers now.
        ready: Whether it answers now.
        fault: Why it cannot serve what is wanted; empty where it can.
        exits: Replicas that have ended unasked within the last day; they were started again.
    """

    name: str
    project: str
    model: str
    champion: int | None
    generation: int
    created_at: datetime
    urls: list[str]
    ready: bool
    fault: str = ""
    exits: list[ReplicaExits] = []


class ExpectedLoad(Entity):
    """What an hour's busier minutes are expected to bring.

    Attributes:
        hour: The begin of the hour.
        concurrency: Requests in hand.
        per_second: Requests a second.
        replicas: How many replicas that takes.
    """

    hour: datetime
    concurrency: float
    per_second: float
    replicas: int


class EndpointCreated(Event):
    """An endpoint was created."""

    endpoint: str
    project: str
    model: str

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class EndpointScaled(Event):
    """An endpoint's wanted number of replicas has changed."""

    endpoint: str
    project: str
    before: int
    replicas: int
    reason: str

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class ReplicaExited(Event):
    """A replica has ended unasked, and is started again.

    Of a replica that dies again and again, the first, second, fourth, eighth … end in a row is an
    event.
    """

    endpoint: str
    project: str
    replica: str
    reason: str
    in_a_row: int
    total: int

    @property
    def subject(self) -> str:
        return f"endpoint:{self.endpoint}"


class EndpointRemoved(Event):
    """An endpoint was removed."""

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
    """A version's rollout has begun."""

    steps: list[str]


class RolloutAdvanced(_RolloutEvent):
    """A rollout has reached its next step."""

    step: str
    reason: str


class RolloutPromoted(_RolloutEvent):
    """A rollout has ended with its version as the champion."""

    reason: str
    previous: int | None

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"live:{self.endpoint}",)


class RolloutRolledBack(_RolloutEvent):
    """A gate has ended a rollout; the previous champion answers again."""

    step: str
    reason: str


class RolloutAborted(_RolloutEvent):
    """A person has ended a rollout; the previous champion answers again."""

    reason: str


class RolloutPaused(_RolloutEvent):
    """A rollout was paused at a step."""

    step: str
    reason: str


class RolloutResumed(_RolloutEvent):
    """A paused rollout goes on."""

    step: str
    reason: str
