"""Takes jobs off the queue, runs each as a process through the executor, and keeps their leases."""

import logging
import time
from collections.abc import Callable

from treadle.jobs.model import Job
from treadle.jobs.service import LEASE_SECONDS, Jobs
from treadle.kernel.clock import monotonic
from treadle.kernel.errors import TreadleError
from treadle.ports.executor import Executor, Launch

log = logging.getLogger(__name__)


class Worker:
    """Runs up to ``slots`` jobs at once. Call ``reconcile`` often; it never waits.

    A job's process reports its own result, fenced by its attempt. What is left for the worker: heartbeats, timeouts,
    cancels, and processes that die without a word.
    """

    def __init__(
        self,
        name: str,
        jobs: Jobs,
        executor: Executor,
        launch: Callable[[Job], Launch],
        *,
        slots: int = 2,
    ) -> None:
        self._name, self._jobs, self._executor, self._launch, self._slots = (
            name,
            jobs,
            executor,
            launch,
            slots,
        )
        self._running: dict[
            str, tuple[Job, float, float]
        ] = {}  # attempt → job, when it started, when last kept

    def reconcile(self) -> int:
        """Start what is due and settle what has ended. Returns how many jobs were started or settled."""
        settled = sum(self._settle(name) for name in list(self._running))
        started = 0
        while len(self._running) < self._slots and (job := self._jobs.lease(self._name)):
            started += 1
            try:
                self._executor.start(self._launch(job))
            except (TreadleError, OSError) as error:
                later = isinstance(error, BrokenPipeError) or getattr(error, "retry", False)
                self._jobs.fail(job, f"Its process could not be started: {error}", final=not later)
                continue
            self._running[job.attempt_name] = (job, monotonic(), monotonic())
        return settled + started

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def stop(self) -> None:
        """End what runs and give it back to the queue."""
        for name, (job, _, _) in self._running.items():
            self._executor.cancel(name)
            self._jobs.release(job)
        self._running.clear()

    def drain(self, *, timeout_seconds: float, reconcile: Callable[[], int]) -> None:
        """Turn until nothing is left to do, calling ``reconcile`` whenever a job may have changed something."""
        until = monotonic() + timeout_seconds
        while monotonic() < until:
            moved = self.reconcile()
            if moved or not self.busy:
                moved += reconcile()
            if not moved and not self.busy:
                return
            if not moved:
                time.sleep(0.01)
        log.warning("work was left after %.0f s", timeout_seconds)

    def _settle(self, name: str) -> bool:
        job, started, kept = self._running[name]
        code = self._executor.poll(name)
        if code is not None:
            del self._running[name]
            self._jobs.fail(
                job, _obituary(code), lethal=True
            )  # no effect when the process reported by itself
            return True
        if monotonic() - started > job.timeout_seconds:
            return self._end(
                name, job, f"It ran longer than its timeout of {job.timeout_seconds:g} s."
            )
        if monotonic() - kept > LEASE_SECONDS / 3:
            if not self._jobs.heartbeat(job):
                return self._end(name, job, "It was cancelled, or another worker has it now.")
            self._running[name] = (job, started, monotonic())
        return False

    def _end(self, name: str, job: Job, reason: str) -> bool:
        self._executor.cancel(name)
        del self._running[name]
        self._jobs.fail(job, reason, final=True)
        return True


def _obituary(code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
    return f"Its process {how} without a result. Its log says more: treadle logs"
