"""Types and events of the job queue: a job, its states, and a piece of its log."""

from datetime import datetime
from typing import Any, Literal

from treadle.kernel.entity import Entity
from treadle.kernel.event import Event

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "set aside"]
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled", "set aside")


class Job(Entity):
    """Long work that outlives the caller that asked for it.

    A job ends once: succeeded, failed (with an error of its own, all attempts used), cancelled, or
    set aside (each attempt took its worker's process down).

    Attributes:
        id: Id of the job, ``job_...``.
        kind: Which code runs the job, such as ``pipelines.step``.
        payload: Input of that code, as plain JSON values.
        state: State of the job.
        attempt: Number of starts so far; 0 before the first.
        max_attempts: Number of starts after which the job ends as failed or set aside.
        timeout_seconds: Longest duration of one attempt, in seconds.
        due_at: Time from which the job may start.
        worker: Name of the worker that runs the current attempt, or None.
        cancel_requested: True once the running job is asked to stop.
        result: What the job returned, as plain JSON values; None before it has succeeded.
        error: Why the last attempt failed, or None.
        actor: User or program in whose name the job runs.
        cause: Number of the event that queued the job.
        created_at: Time at which the job was queued first.
        ended_at: Time at which the job ended, or None.
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
        """Whether the job has ended; an ended job changes only through a retry."""
        return self.state in ENDED

    @property
    def attempt_name(self) -> str:
        """Name of the current attempt, unique among all attempts: ``JOB.ATTEMPT``."""
        return f"{self.id}.{self.attempt}"


class Queue(Entity):
    """How much work waits, and who does it.

    Attributes:
        jobs: Number of jobs by their state.
        waiting_seconds: How long the oldest of the queued jobs that are due has waited; None where
            none waits.
        workers: Number of jobs that each worker runs, by the worker's name.
    """

    jobs: dict[str, int]
    waiting_seconds: float | None
    workers: dict[str, int]


class LogChunk(Entity):
    """A piece of a job's log.

    Attributes:
        text: The printed text.
        next_offset: Offset in bytes from which to read the next piece.
        ended: True when no more text will come.
    """

    text: str
    next_offset: int
    ended: bool


class JobQueued(Event):
    """A job was queued, for the first time or by a retry."""

    job: str
    kind: str
    project: str | None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"


class JobCancelRequested(Event):
    """Somebody asked a running job to stop."""

    job: str
    kind: str
    project: str | None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"


class JobEnded(Event):
    """A job has ended; ``state`` says how."""

    job: str
    kind: str
    project: str | None
    state: State
    attempts: int
    error: str | None = None

    @property
    def subject(self) -> str:
        return f"job:{self.job}"
