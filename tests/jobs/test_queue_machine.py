"""Whatever workers, twins and people do: a job's state is right, and it ends once."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from treadle.backends.database.sqlite import SQLite
from treadle.backends.executor.subprocess import Subprocess
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.jobs.model import Job
from treadle.jobs.tables import jobs as table
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict
from treadle.platform.host import HostFigures


class Queue(RuleBasedStateMachine):
    """``newest`` knows the attempt that holds each job now; other leases are late twins'."""

    leases: Bundle[Job] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        folder = Path(self.folder.name)
        self.clock = ManualClock()
        self.database = SQLite(f"sqlite:///{folder / 'jobs.db'}")
        self.database.migrate()
        self.events = LocalEvents(self.database, self.clock)
        self.queue = LocalJobs(
            self.database,
            self.events,
            self.clock,
            Subprocess(f"subprocess://{folder / 'executor'}"),
            HostFigures(folder),
        )
        self.newest: dict[str, Job] = {}
        self.ended: dict[str, str] = {}
        self.names: list[str] = []
        self.lost: set[str] = set()  # running jobs whose lease has run out

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    def holds(self, job: Job) -> bool:
        return self.newest.get(job.id) is job

    @rule(attempts=st.integers(1, 3))
    def add(self, attempts: int) -> None:
        with self.database.write() as transaction:
            self.names.append(
                self.queue.enqueue(transaction, kind="bake", payload={}, max_attempts=attempts)
            )

    @rule(target=leases)
    def lease(self) -> Any:
        cancelled = [
            job
            for job in self.queue.find(state="running")
            if job.cancel_requested and job.id in self.lost
        ]
        job = self.queue.lease("w")
        for other in cancelled:  # nobody is left to stop them, so the queue ends them in passing
            if job is None or (other.due_at, other.id) < (job.due_at, job.id):
                del self.newest[other.id]
                self.ended[other.id] = "cancelled"
        if job is None:
            return multiple()
        self.lost.discard(job.id)
        assert job.id not in self.newest or job.attempt > self.newest[job.id].attempt
        self.newest[job.id] = job
        return job

    @rule(job=leases)
    def succeed(self, job: Job) -> None:
        taken = self.queue.succeed(job, job.attempt)
        assert taken == self.holds(job)
        if taken:
            del self.newest[job.id]
            self.ended[job.id] = "succeeded"
            assert self.queue.get(job=job.id).result == job.attempt

    @rule(job=leases, final=st.booleans())
    def fail(self, job: Job, final: bool) -> None:
        asked = self.queue.get(job=job.id).cancel_requested
        taken = self.queue.fail(job, "too hot", final=final)
        assert taken == self.holds(job)
        if taken:
            del self.newest[job.id]
            if asked or final or job.attempt >= job.max_attempts:
                self.ended[job.id] = "cancelled" if asked else "failed"

    @rule(job=consumes(leases))
    def release(self, job: Job) -> None:
        if self.holds(job) and not self.queue.get(job=job.id).cancel_requested:
            del self.newest[job.id]
            self.queue.release(job)
            assert self.queue.get(job=job.id).state == "queued"

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.names:
            return
        name = data.draw(st.sampled_from(self.names))
        try:
            if self.queue.cancel(job=name).ended:
                self.ended[name] = "cancelled"
        except Conflict:
            assert name in self.ended

    @rule()
    def wait(self) -> None:
        self.clock.advance(timedelta(minutes=1))

    @rule()
    def lose_all_workers(self) -> None:
        """Their leases run out; what has attempts left may be leased again."""
        if any(
            job.cancel_requested or job.attempt >= job.max_attempts
            for job in self.queue.find(state="running")
        ):
            return
        with self.database.write() as transaction:
            transaction.execute(
                table.update().where(table.c.state == "running").values(leased_until=0.0)
            )
        self.lost = set(self.newest)

    @invariant()
    def states_are_as_expected(self) -> None:
        found = {job.id: job for job in self.queue.find()}
        assert {name: job.state for name, job in found.items() if job.ended} == self.ended
        assert {name for name, job in found.items() if job.state == "running"} == set(self.newest)
        assert self.queue.open() == any(not job.ended for job in found.values())

    @invariant()
    def each_end_is_told_once(self) -> None:
        ends = [str(record.body["job"]) for record in self.events.history(type="JobEnded")]
        assert sorted(ends) == sorted(self.ended)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
