"""Operations of the job queue; an attempt changes a job only while it holds the job's lease."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from treadle.events.service import Events
from treadle.jobs.model import ENDED, Job, JobCancelRequested, JobEnded, JobQueued, LogChunk, State
from treadle.jobs.tables import jobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.event import acting, current_act
from treadle.kernel.ids import new_id
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.ports.executor import Executor

LEASE_SECONDS = 6.0
LOG_PIECE_BYTES = 1 << 20
FIRST_BACKOFF = timedelta(seconds=1)


class Jobs:
    """The durable job queue.

    Each change of a job's state is one transaction.
    """

    def __init__(
        self, database: Database, events: Events, clock: Clock, executor: Executor
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._executor = executor

    def enqueue(
        self,
        transaction: Connection,
        *,
        kind: str,
        payload: Mapping[str, Any],
        max_attempts: int = 3,
        timeout_seconds: float = 3600.0,
        project: str | None = None,
    ) -> str:
        """Queue a job in the transaction of the change that needs it.

        Args:
            transaction: Open write transaction; the job exists when it commits.
            kind: Which code runs the job.
            payload: Input of that code, as plain JSON values.
            max_attempts: Number of starts before the job ends as failed or set aside.
            timeout_seconds: Longest duration of one attempt, in seconds.
            project: The project that the job works for; none for what belongs to no project.

        Returns:
            The id of the job.
        """
        job = new_id("job")
        now = self._clock.now()
        event = self._events.append(transaction, JobQueued(job=job, kind=kind, project=project))
        transaction.execute(
            jobs.insert().values(
                id=job,
                kind=kind,
                payload=to_text(payload),
                state="queued",
                attempt=0,
                max_attempts=max_attempts,
                allowance=max_attempts,
                timeout_seconds=timeout_seconds,
                due_at=now,
                cancel_requested=False,
                actor=current_act().actor,
                cause=event,
                created_at=now,
            )
        )
        return job

    @query()
    def get(self, *, job: str) -> Job:
        """Show one job.

        Args:
            job: Id of the job.

        Raises:
            NotFound: There is no such job.
        """
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no job '{job}'. List them with: treadle jobs find")
        return _job(row)

    @query()
    def find(self, *, state: State | None = None, limit: int = 100) -> list[Job]:
        """List jobs, newest first.

        Args:
            state: List only jobs in this state; all states if omitted.
            limit: Largest number of jobs to list.
        """
        statement = select(jobs).order_by(jobs.c.id.desc()).limit(max(limit, 0))
        if state:
            statement = statement.where(jobs.c.state == state)
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(statement).mappings()]

    @command()
    def cancel(self, *, job: str) -> Job:
        """Stop a job: at once if it is queued, otherwise as soon as its worker notices.

        Args:
            job: Id of the job.

        Returns:
            The job after the request; a running one still has the state ``running``.

        Raises:
            NotFound: There is no such job.
            Conflict: The job has ended already.
        """
        current = self.get(job=job)
        if current.ended:
            raise Conflict(
                f"Job '{job}' has ended already ({current.state}), so there is nothing to cancel."
            )
        with self._database.write() as transaction:
            waiting = and_(jobs.c.id == job, jobs.c.state == "queued")
            if not self._end(transaction, current, waiting, "cancelled", by=current_act().actor):
                request = jobs.update().where(jobs.c.id == job).values(cancel_requested=True)
                transaction.execute(request)
                event = JobCancelRequested(
                    job=job, kind=current.kind, project=self._project(transaction, current)
                )
                self._events.append(transaction, event)
        return self.get(job=job)

    @command()
    def retry(self, *, job: str) -> Job:
        """Queue an ended job again, with as many attempts as it had at first.

        Args:
            job: Id of the failed, cancelled or set-aside job.

        Raises:
            NotFound: There is no such job.
            Conflict: The job has succeeded or has not ended.
        """
        current = self.get(job=job)
        if current.state not in ("failed", "cancelled", "set aside"):
            raise Conflict(
                f"Job '{job}' is {current.state}; "
                "only a failed, cancelled or set-aside job can be retried."
            )
        with self._database.write() as transaction:
            requeued = {
                "state": "queued",
                "max_attempts": jobs.c.attempt + jobs.c.allowance,
                "due_at": self._clock.now(),
                "error": None,
                "cancel_requested": False,
                "ended_at": None,
            }
            unchanged = and_(
                jobs.c.id == job,
                jobs.c.state == current.state,
                jobs.c.attempt == current.attempt,
            )
            if transaction.execute(jobs.update().where(unchanged).values(requeued)).rowcount:
                event = JobQueued(
                    job=job, kind=current.kind, project=self._project(transaction, current)
                )
                self._events.append(transaction, event)
        return self.get(job=job)

    @query()
    def log(self, *, job: str, offset: int = 0) -> LogChunk:
        """Read what the newest attempt of a job has printed, about a megabyte at a time.

        Args:
            job: Id of the job.
            offset: Number of bytes of the log to skip.

        Returns:
            The next piece of the log, with the offset of the piece after it.

        Raises:
            NotFound: There is no such job.
            Invalid: The offset is negative.
        """
        if offset < 0:
            raise Invalid(f"Field 'offset': {offset} is before the beginning.")
        current = self.get(job=job)
        piece = self._executor.log(current.attempt_name, offset) if current.attempt else b""
        ended = current.ended and len(piece) < LOG_PIECE_BYTES
        piece = piece if ended else whole_letters(piece)
        return LogChunk(
            text=piece.decode(errors="replace"), next_offset=offset + len(piece), ended=ended
        )

    def lease(self, worker: str) -> Job | None:
        """Take the next due job for ``LEASE_SECONDS``.

        A job is due when it is queued and its time has come, or when it runs and the lease of its
        worker has run out.

        Args:
            worker: Name of the worker that takes the job.

        Returns:
            The job with its new attempt, or None when no job is due.
        """
        silent = and_(jobs.c.state == "running", jobs.c.leased_until < time.time())
        due = and_(jobs.c.state == "queued", jobs.c.due_at <= self._clock.now())
        statement = select(jobs).where(or_(due, silent)).order_by(jobs.c.due_at, jobs.c.id).limit(1)
        with self._database.read() as connection:
            if connection.execute(statement).one_or_none() is None:
                return None
        with self._database.write() as transaction:
            row = transaction.execute(statement).mappings().one_or_none()
            if row is None:
                return None
            job = _job(row)
            leased = self._lease_or_end(transaction, job, worker)
        return self.get(job=job.id) if leased else self.lease(worker)

    def heartbeat(self, job: Job) -> bool:
        """Extend the lease of a running attempt.

        Args:
            job: The job with the attempt that the worker runs.

        Returns:
            False when the attempt has lost its lease or the job is to be cancelled. The worker must
                then stop the attempt.
        """
        with self._database.write() as transaction:
            extended = transaction.execute(
                jobs.update()
                .where(_held(job), jobs.c.cancel_requested.is_(False))
                .values(leased_until=time.time() + LEASE_SECONDS)
            )
        return bool(extended.rowcount)

    def succeed(self, job: Job, result: object) -> bool:
        """End a job with its result.

        Args:
            job: The job with the attempt that made the result.
            result: What the job returned, as plain JSON values.

        Returns:
            False when this attempt has lost its lease; the result is then ignored.
        """
        with self._database.write() as transaction:
            return self._end(transaction, job, _held(job), "succeeded", result=result)

    def fail(self, job: Job, error: str, *, lethal: bool = False, final: bool = False) -> bool:
        """Record a failed attempt, and either queue the job again or end it.

        Waits between attempts start at one second and double. A job that is to be cancelled ends as
        cancelled.

        Args:
            job: The job with the attempt that failed.
            error: Why the attempt failed.
            lethal: Whether the attempt's process died; the last such attempt sets the job aside.
            final: Whether to end the job although it has attempts left.

        Returns:
            False when this attempt has lost its lease; the failure is then ignored.
        """
        if self.get(job=job.id).cancel_requested:
            with self._database.write() as transaction:
                return self._end(transaction, job, _held(job), "cancelled", error=error)
        if final or job.attempt >= job.max_attempts:
            state: State = "set aside" if lethal else "failed"
            with self._database.write() as transaction:
                return self._end(transaction, job, _held(job), state, error=error)
        backoff = FIRST_BACKOFF * 2 ** (job.attempt - 1)
        requeued = {
            "state": "queued",
            "due_at": self._clock.now() + backoff,
            "error": error,
            "worker": None,
        }
        with self._database.write() as transaction:
            changed = transaction.execute(jobs.update().where(_held(job)).values(requeued))
        return bool(changed.rowcount)

    def _project(self, transaction: Connection, job: Job) -> str | None:
        """The project that a job was queued for; the event that queued it is its cause."""
        return None if job.cause is None else self._events.project_of(transaction, job.cause)

    def release(self, job: Job) -> None:
        """Give a running job back to the queue, as when its worker is told to stop.

        This attempt does not count against ``max_attempts``.

        Args:
            job: The job with the attempt to give back.
        """
        requeued = {
            "state": "queued",
            "max_attempts": job.max_attempts + 1,
            "worker": None,
            "leased_until": None,
        }
        with self._database.write() as transaction:
            cancelled = _held(job) & jobs.c.cancel_requested
            if self._end(transaction, job, cancelled, "cancelled", error="It was cancelled."):
                return
            transaction.execute(jobs.update().where(_held(job)).values(requeued))

    def open(self) -> bool:
        """Whether any job is queued or running."""
        statement = select(jobs.c.id).where(jobs.c.state.not_in(ENDED)).limit(1)
        with self._database.read() as connection:
            return connection.scalar(statement) is not None

    def _lease_or_end(self, transaction: Connection, job: Job, worker: str) -> bool:
        """Lease a due job to a worker, or end it when it is cancelled or has no attempt left."""
        row = jobs.c.id == job.id
        if job.cancel_requested:
            self._end(transaction, job, row, "cancelled", error="It was cancelled.")
            return False
        if job.attempt >= job.max_attempts:
            reason = (
                f"Its worker died in each of {job.attempt} attempts. "
                f"Read its log, then: treadle jobs retry --job {job.id}"
            )
            self._end(transaction, job, row, "set aside", error=reason)
            return False
        leased = {
            "state": "running",
            "attempt": job.attempt + 1,
            "worker": worker,
            "leased_until": time.time() + LEASE_SECONDS,
        }
        transaction.execute(jobs.update().where(row).values(leased))
        return True

    def _end(
        self,
        transaction: Connection,
        job: Job,
        condition: Any,
        state: State,
        *,
        result: object = None,
        error: str | None = None,
        by: str | None = None,
    ) -> bool:
        ending = {
            "state": state,
            "result": to_text(result),
            "error": error,
            "ended_at": self._clock.now(),
        }
        changed = transaction.execute(
            jobs.update().where(condition).values(**ending, leased_until=None)
        )
        if changed.rowcount:
            event = JobEnded(
                job=job.id,
                kind=job.kind,
                project=self._project(transaction, job),
                state=state,
                attempts=job.attempt,
                error=error,
            )
            with acting(by or job.actor, cause=job.cause):
                self._events.append(transaction, event)
        return bool(changed.rowcount)


def whole_letters(piece: bytes) -> bytes:
    """Drop an incomplete letter from the end of a piece of UTF-8.

    Args:
        piece: Bytes cut from a longer text.

    Returns:
        The piece without the letter that its end cuts in two.
    """
    for size in range(1, min(4, len(piece)) + 1):
        lead = piece[-size]
        if lead >= 0xC0:
            letter_bytes = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return piece[:-size] if size < letter_bytes else piece
        if lead < 0x80:
            break
    return piece


def _held(job: Job) -> Any:
    """The condition that this very attempt still holds the job's row."""
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempt == job.attempt)


def _job(row: Mapping[Any, Any]) -> Job:
    payload = from_json(row["payload"], dict[str, Any])
    return load(Job, row, payload=payload, result=from_json(row["result"] or "null", object))
