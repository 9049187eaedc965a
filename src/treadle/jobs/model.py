"""A job, its states, and what is told of it."""

from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "set aside"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled", "set aside")


class Job(Entity):
    """Long work that outlives whoever asked for it.

    A job ends once: succeeded, failed (its own error, retries used up), cancelled, or set aside (it kept killing its
    worker). ``attempt`` counts the starts so far.
    """

    id: str
    kind: str
    payload: dict[str, Any]
    state: State
    attempt: int
    max_attempts: int
    timeout_seconds: float
    due_at: datetime
    worker: str | None
    cancel_requested: bool
    result: Any
    error: str | None
    actor: str
    cause: int | None
    created_at: datetime
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def attempt_name(self) -> str:
        return f"{self.id}.{self.attempt}"


class LogChunk(Entity):
    """A piece of a job's log; ask again from ``next_offset``. ``ended`` when no more will come."""

    text: str
    next_offset: int
    ended: bool


class JobQueued(Event):
    job: str
    kind: str
    project: str | None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"


class JobCancelRequested(Event):
    job: str
    kind: str
    project: str | None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"


class JobEnded(Event):
    job: str
    kind: str
    project: str | None
    state: State
    attempts: int
    error: str | None = None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"
