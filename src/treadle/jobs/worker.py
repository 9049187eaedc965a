"""Takes jobs off the queue, runs each in a process, and extends their leases."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from treadle.jobs.local import LEASE_SECONDS, LocalJobs
from treadle.jobs.model import Job
from treadle.kernel.clock import monotonic
from treadle.kernel.errors import TreadleError
from treadle.ports.executor import Executor, Launch

log = logging.getLogger(__name__)


class _Attempt(NamedTuple):
    """A job that this worker runs; both times are seconds of the monotonic clock."""

    job: Job
    started: float
    last_heartbeat: float


class Worker:
    """Runs several jobs at once. Call ``reconcile`` often; it never waits.

    A job's process reports its own result. The worker sends heartbeats, enforces timeouts, passes
    on cancels, and reports processes that end without a result.

    Args:
        name: Name of the worker, unique among the workers of a queue.
        jobs: The queue.
        executor: Runs the processes.
        launch: Makes the command of a job's attempt.
        slots: Number of jobs that run at the same time.
    """

    def __init__(
        self,
        name: str,
        jobs: LocalJobs,
        executor: Executor,
        launch: Callable[[Job], Launch],
        *,
        slots: int = 2,
    ) -> None:
        self._name = name
        self._jobs = jobs
        self._executor = executor
        self._launch = launch
        self._slots = slots
        self._running: dict[str, _Attempt] = {}  # by the attempt's name

    def reconcile(self) -> int:
        """Settle the jobs that have ended and start the jobs that are due.

        Returns:
            How many jobs were started or settled.
        """
        settled = sum(self._settle(name) for name in list(self._running))
        started = 0
        while len(self._running) < self._slots and (job := self._next()):
            started += 1
            try:
                self._executor.start(self._launch(job))
            except (TreadleError, OSError) as error:
                temporary = isinstance(error, BrokenPipeError) or getattr(error, "retry", False)
                reason = f"Its process could not be started: {error}"
                self._jobs.fail(job, reason, final=not temporary)
                continue
            self._running[job.attempt_name] = _Attempt(job, monotonic(), monotonic())
        return settled + started

    @property
    def busy(self) -> bool:
        """Whether any job runs here."""
        return bool(self._running)

    def stop(self) -> None:
        """End all running processes and give their jobs back to the queue."""
        for name, attempt in self._running.items():
            self._executor.cancel(name)
            self._jobs.release(attempt.job)
        self._running.clear()

    def drain(self, *, timeout_seconds: float, reconcile: Callable[[], int]) -> None:
        """Work until nothing is left to do, or until the time is up.

        Args:
            timeout_seconds: Longest time to work, in seconds; a warning is logged when work is
                left.
            reconcile: Moves the rest of the platform on; called when a job may have changed
                something. Returns how many things changed.
        """
        deadline = monotonic() + timeout_seconds
        while monotonic() < deadline:
            changes = self.reconcile()
            if changes or not self.busy:
                changes += reconcile()
            if not changes and not self.busy:
                return
            if not changes:
                time.sleep(0.02)
        log.warning("work was left after %.0f s", timeout_seconds)

    def _next(self) -> Job | None:
        own = [attempt.job.id for attempt in self._running.values()]
        return self._jobs.lease(self._name, own)

    def _settle(self, name: str) -> bool:
        attempt = self._running[name]
        job = attempt.job
        exit_code = self._executor.poll(name)
        if exit_code is not None:
            del self._running[name]
            # This has no effect when the process has reported its own result.
            self._jobs.fail(job, _exit_message(exit_code), lethal=True)
            return True
        if monotonic() - attempt.started > job.timeout_seconds:
            reason = f"It ran longer than its timeout of {job.timeout_seconds:g} s."
            return self._end(name, job, reason)
        if monotonic() - attempt.last_heartbeat > LEASE_SECONDS / 3:
            if not self._jobs.heartbeat(job):
                return self._end(name, job, "It was cancelled, or another worker has it now.")
            self._running[name] = attempt._replace(last_heartbeat=monotonic())
        return False

    def _end(self, name: str, job: Job, reason: str) -> bool:
        self._executor.cancel(name)
        del self._running[name]
        self._jobs.fail(job, reason, final=True)
        return True


def _exit_message(code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
    return f"Its process {how} without a result. Its log says more: treadle logs"
