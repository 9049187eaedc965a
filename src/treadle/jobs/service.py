"""The queue's operations. Each change of state is one transaction, fenced by the attempt that makes it."""

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
    """The durable job queue."""

    def __init__(
        self, database: Database, events: Events, clock: Clock, executor: Executor
    ) -> None:
        self._database, self._events, self._clock, self._executor = (
            database,
            events,
            clock,
            executor,
        )

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
        """Queue a job in the transaction of the change that needs it. Returns its id."""
        job, now = new_id("job"), self._clock.now()
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
        """One job."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no job '{job}'. List them with: treadle jobs find")
        return _job(row)

    @query()
    def find(self, *, state: State | None = None, limit: int = 100) -> list[Job]:
        """Jobs, newest first, in one state if given."""
        wanted = select(jobs).order_by(jobs.c.id.desc()).limit(max(limit, 0))
        if state:
            wanted = wanted.where(jobs.c.state == state)
        with self._database.read() as connection:
            return [_job(row) for row in connection.execute(wanted).mappings()]

    @command()
    def cancel(self, *, job: str) -> Job:
        """Stop a job: at once if it waits, as soon as its worker sees it if it runs."""
        found = self.get(job=job)
        if found.ended:
            raise Conflict(
                f"Job '{job}' has ended already ({found.state}), so there is nothing to cancel."
            )
        with self._database.write() as transaction:
            waiting = and_(jobs.c.id == job, jobs.c.state == "queued")
            if not self._end(transaction, found, waiting, "cancelled", by=current_act().actor):
                transaction.execute(
                    jobs.update().where(jobs.c.id == job).values(cancel_requested=True)
                )
                event = JobCancelRequested(
                    job=job, kind=found.kind, project=self._project(transaction, found)
                )
                self._events.append(transaction, event)
        return self.get(job=job)

    @command()
    def retry(self, *, job: str) -> Job:
        """Queue an ended job again, with as many attempts as it had."""
        found = self.get(job=job)
        if found.state not in ("failed", "cancelled", "set aside"):
            raise Conflict(
                f"Job '{job}' is {found.state}; only a failed, cancelled or set-aside job can be retried."
            )
        with self._database.write() as transaction:
            again = {
                "state": "queued",
                "max_attempts": jobs.c.attempt + jobs.c.allowance,
                "due_at": self._clock.now(),
            }
            again |= {"error": None, "cancel_requested": False, "ended_at": None}
            still = (
                (jobs.c.id == job)
                & (jobs.c.state == found.state)
                & (jobs.c.attempt == found.attempt)
            )
            if transaction.execute(jobs.update().where(still).values(again)).rowcount:
                event = JobQueued(
                    job=job, kind=found.kind, project=self._project(transaction, found)
                )
                self._events.append(transaction, event)
        return self.get(job=job)

    @query()
    def log(self, *, job: str, offset: int = 0) -> LogChunk:
        """What the job's newest attempt has printed, from a byte offset on, about a megabyte at a time."""
        if offset < 0:
            raise Invalid(f"Field 'offset': {offset} is before the beginning.")
        found = self.get(job=job)
        piece = self._executor.log(found.attempt_name, offset) if found.attempt else b""
        ended = found.ended and len(piece) < LOG_PIECE_BYTES
        piece = piece if ended else whole_letters(piece)
        return LogChunk(
            text=piece.decode(errors="replace"), next_offset=offset + len(piece), ended=ended
        )

    def lease(self, worker: str) -> Job | None:
        """Take the next due job for ``LEASE_SECONDS``: a waiting one, or one whose worker has gone silent."""
        silent = and_(jobs.c.state == "running", jobs.c.leased_until < time.time())
        due = and_(jobs.c.state == "queued", jobs.c.due_at <= self._clock.now())
        wanted = select(jobs).where(or_(due, silent)).order_by(jobs.c.due_at, jobs.c.id).limit(1)
        with self._database.read() as connection:
            if connection.execute(wanted).one_or_none() is None:
                return None
        with self._database.write() as transaction:
            row = transaction.execute(wanted).mappings().one_or_none()
            if row is None:
                return None
            found: Job | None = _job(row)
            assert found is not None
            if found.cancel_requested:
                self._end(
                    transaction,
                    found,
                    jobs.c.id == found.id,
                    "cancelled",
                    error="It was cancelled.",
                )
                found = None
            elif found.attempt >= found.max_attempts:
                reason = f"Its worker died in each of {found.attempt} attempts. Read its log, then: treadle jobs retry --job {found.id}"
                self._end(transaction, found, jobs.c.id == found.id, "set aside", error=reason)
                found = None
            else:
                taken = {"state": "running", "attempt": found.attempt + 1, "worker": worker}
                taken["leased_until"] = time.time() + LEASE_SECONDS
                transaction.execute(jobs.update().where(jobs.c.id == found.id).values(taken))
        return self.get(job=found.id) if found is not None else self.lease(worker)

    def heartbeat(self, job: Job) -> bool:
        """Keep the lease. False when it was lost or the job is to be cancelled: stop working on it."""
        with self._database.write() as transaction:
            kept = transaction.execute(
                jobs.update()
                .where(_held(job), jobs.c.cancel_requested.is_(False))
                .values(leased_until=time.time() + LEASE_SECONDS)
            )
        return bool(kept.rowcount)

    def succeed(self, job: Job, result: object) -> bool:
        """End a job with its result. False when this attempt has lost its lease: the result is not taken."""
        with self._database.write() as transaction:
            return self._end(transaction, job, _held(job), "succeeded", result=result)

    def fail(self, job: Job, error: str, *, lethal: bool = False, final: bool = False) -> bool:
        """Record a failed attempt: retried with doubled waits, or ended. ``lethal`` when it took its process down."""
        if self.get(job=job.id).cancel_requested:
            with self._database.write() as transaction:
                return self._end(transaction, job, _held(job), "cancelled", error=error)
        if final or job.attempt >= job.max_attempts:
            with self._database.write() as transaction:
                return self._end(
                    transaction, job, _held(job), "set aside" if lethal else "failed", error=error
                )
        wait = FIRST_BACKOFF * 2 ** (job.attempt - 1)
        again = {
            "state": "queued",
            "due_at": self._clock.now() + wait,
            "error": error,
            "worker": None,
        }
        with self._database.write() as transaction:
            return bool(transaction.execute(jobs.update().where(_held(job)).values(again)).rowcount)

    def release(self, job: Job) -> None:
        """Give a job back, as when the worker is told to stop: this attempt does not count against it."""
        again = {
            "state": "queued",
            "max_attempts": job.max_attempts + 1,
            "worker": None,
            "leased_until": None,
        }
        with self._database.write() as transaction:
            cancelled = _held(job) & jobs.c.cancel_requested
            if self._end(transaction, job, cancelled, "cancelled", error="It was cancelled."):
                return
            transaction.execute(jobs.update().where(_held(job)).values(again))

    def open(self) -> bool:
        """Whether any job is queued or running."""
        with self._database.read() as connection:
            wanted = select(jobs.c.id).where(jobs.c.state.not_in(ENDED)).limit(1)
            return connection.scalar(wanted) is not None

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

    def _project(self, transaction: Connection, job: Job) -> str | None:
        """The project that a job was queued for; the event that queued it is its cause."""
        return None if job.cause is None else self._events.project_of(transaction, job.cause)


def whole_letters(piece: bytes) -> bytes:
    """A piece of UTF-8 without the letter that its end cuts in two."""
    for size in range(1, min(4, len(piece)) + 1):
        lead = piece[-size]
        if lead >= 0xC0:
            wanted = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return piece[:-size] if size < wanted else piece
        if lead < 0x80:
            break
    return piece


def _held(job: Job) -> Any:
    """True for the row as long as this very attempt holds it: the fence against a late twin."""
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempt == job.attempt)


def _job(row: Mapping[Any, Any]) -> Job:
    payload = from_json(row["payload"], dict[str, Any])
    return load(Job, row, payload=payload, result=from_json(row["result"] or "null", object))
