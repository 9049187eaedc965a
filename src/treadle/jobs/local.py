"""The job queue as the process has it that holds the database."""

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from treadle.jobs.model import ENDED, Job, JobQueued, State
from treadle.jobs.service import Jobs, job_of
from treadle.jobs.tables import jobs
from treadle.kernel.entity import to_text
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.stage import ERASE
from treadle.ports.content import Replacements

_AT_ONCE = 500  # ids in one statement


class LocalJobs(Jobs):
    """The durable job queue; with what only this process does.

    An attempt changes a job only while it holds the job's lease.
    """

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

    @ERASE("replace")
    def replace_content(
        self, transaction: Connection, replaced: Replacements, project: str | None
    ) -> int:
        """Let jobs that have not ended name the contents that take others' places.

        Args:
            transaction: The write transaction.
            replaced: The new contents.
            project: The project whose jobs are changed; None for all.
        """
        changed = 0
        for old, new in replaced.items():
            names = jobs.c.payload.contains(old, autoescape=True) & jobs.c.state.not_in(ENDED)
            live = transaction.execute(select(jobs).where(names)).mappings().all()
            own = [
                row["id"]
                for row in live
                if project in (None, self._project(transaction, job_of(row)))
            ]
            payload = func.replace(jobs.c.payload, old, new.digest)
            for job in own:
                same = jobs.update().where(jobs.c.id == job)
                changed += transaction.execute(same.values(payload=payload)).rowcount
        return changed

    def ended_among(self, ids: Collection[str]) -> dict[str, Job]:
        """Those of some jobs that have ended.

        Args:
            ids: Ids of jobs.

        Returns:
            The jobs by their ids.
        """
        ended: dict[str, Job] = {}
        of_these = sorted(ids)
        with self._database.read() as connection:
            for start in range(0, len(of_these), _AT_ONCE):
                some = jobs.c.id.in_(of_these[start : start + _AT_ONCE])
                over = select(jobs).where(some, jobs.c.state.in_(ENDED))
                ended |= {row["id"]: job_of(row) for row in connection.execute(over).mappings()}
        return ended

    def lease(self, worker: str, running: Collection[str] = ()) -> Job | None:
        """Take the next due job for ``LEASE_SECONDS``.

        A job is due when it is queued and its time has come, or when it runs and the lease of its
        worker has run out. A worker's own jobs are never due to it, however the system's clock has
        jumped: a laptop that wakes would else begin again what it is at.

        Args:
            worker: Name of the worker that takes the job.
            running: Ids of the jobs that it runs already.

        Returns:
            The job with its new attempt, or None when no job is due.
        """
        now = time.time()
        over = or_(
            jobs.c.leased_until < now,
            jobs.c.leased_until > now + 2 * LEASE_SECONDS,  # the clock was put back since
        )
        silent = and_(jobs.c.state == "running", over, jobs.c.id.not_in(running))
        due = and_(jobs.c.state == "queued", jobs.c.due_at <= self._clock.now())
        statement = select(jobs).where(or_(due, silent)).order_by(jobs.c.due_at, jobs.c.id).limit(1)
        with self._database.read() as connection:
            if connection.execute(statement).one_or_none() is None:
                return None
        with self._database.write() as transaction:
            row = transaction.execute(statement).mappings().one_or_none()
            if row is None:
                return None
            job = job_of(row)
            leased = self._lease_or_end(transaction, job, worker)
        return self.get(job=job.id) if leased else self.lease(worker, running)

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


def _held(job: Job) -> Any:
    """The condition that this very attempt still holds the job's row."""
    return and_(jobs.c.id == job.id, jobs.c.state == "running", jobs.c.attempt == job.attempt)


LEASE_SECONDS = 6.0


FIRST_BACKOFF = timedelta(seconds=1)
