"""Operations of the job queue; an attempt changes a job only while it holds the job's lease."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, func, select

from treadle.events.local import LocalEvents
from treadle.jobs.host import Host, HostReader
from treadle.jobs.model import Job, JobCancelRequested, JobEnded, JobQueued, LogChunk, Queue, State
from treadle.jobs.tables import jobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.event import acting, current_act
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.ports.executor import Executor

LOG_PIECE_BYTES = 1 << 20


class Jobs:
    """The durable job queue.

    Each change of a job's state is one transaction.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        executor: Executor,
        machine: HostReader,
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._executor = executor
        self._machine = machine

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
        return job_of(row)

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
            return [job_of(row) for row in connection.execute(statement).mappings()]

    @query()
    def queue(self) -> Queue:
        """Show how many jobs are in each state, how long work waits, and which workers are busy."""
        now = self._clock.now()
        by_state = select(jobs.c.state, func.count()).group_by(jobs.c.state)
        due = (jobs.c.state == "queued") & (jobs.c.due_at <= now)
        running = jobs.c.state == "running"
        by_worker = select(jobs.c.worker, func.count()).where(running).group_by(jobs.c.worker)
        with self._database.read() as connection:
            oldest = connection.scalar(select(func.min(jobs.c.due_at)).where(due))
            return Queue(
                jobs={state: count for state, count in connection.execute(by_state)},  # noqa: C416
                waiting_seconds=None if oldest is None else (now - oldest).total_seconds(),
                workers={name or "": count for name, count in connection.execute(by_worker)},
            )

    @query()
    def host(self) -> Host:
        """Show the machine that answers: its processors, memory, disk, GPUs and our processes."""
        return self._machine.read()

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

    def _project(self, transaction: Connection, job: Job) -> str | None:
        """The project that a job was queued for; the event that queued it is its cause."""
        return None if job.cause is None else self._events.project_of(transaction, job.cause)

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


def job_of(row: Mapping[Any, Any]) -> Job:
    """Build a job from its row.

    Args:
        row: Row of ``jobs`` by column name; payload and result are JSON text.
    """
    payload = from_json(row["payload"], dict[str, Any])
    return load(Job, row, payload=payload, result=from_json(row["result"] or "null", object))
