"""The worker over real child processes."""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.jobs.conftest import Add
from tests.kernel.eventually import eventually
from treadle.backends.executor.subprocess import Subprocess
from treadle.jobs.local import LocalJobs
from treadle.jobs.model import Job
from treadle.jobs.worker import Worker
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Unavailable
from treadle.platform.wiring import Embedded
from treadle.ports.executor import Executor, Launch

CODES = {
    "crash": "raise SystemExit(3)",
    "quiet": "pass",
    "kill": "import os; print('last words', flush=True); os.kill(os.getpid(), 9)",
    "sleep": "import time; print('asleep', flush=True); time.sleep(60)",
}


def launch(job: Job) -> Launch:
    return Launch(name=job.attempt_name, arguments=[sys.executable, "-S", "-c", CODES[job.kind]])


@pytest.fixture
def worker(queue: LocalJobs, executor: Executor) -> Iterator[Worker]:
    made = Worker("w", queue, executor, launch)
    yield made
    made.stop()


def settle(worker: Worker) -> None:
    worker.reconcile()
    eventually(lambda: worker.reconcile() + (not worker.busy), what="the job to be settled")


def test_a_process_that_dies_without_a_word_is_tried_again_and_told_of(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    job = add("crash")
    settle(worker)
    found = queue.get(job=job)
    assert (found.state, found.attempt) == ("queued", 1)
    assert (
        found.error
        == "Its process exited with code 3 without a result. Its log says more: treadle logs"
    )


def test_a_job_that_keeps_killing_its_process_is_set_aside_with_its_log(
    queue: LocalJobs, add: Add, worker: Worker, clock: ManualClock
) -> None:
    job = add("kill", max_attempts=3)
    for _ in range(3):
        settle(worker)
        clock.advance(timedelta(minutes=1))
    found = queue.get(job=job)
    assert (found.state, found.attempt) == ("set aside", 3)
    assert found.error is not None
    assert "was ended by signal 9" in found.error
    assert queue.log(job=job).text == "last words\n"


def test_a_process_that_reported_by_itself_is_believed(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    job = add("sleep")
    worker.reconcile()
    assert queue.succeed(queue.get(job=job), 42)
    worker._executor.cancel(f"{job}.1")
    settle(worker)
    assert (queue.get(job=job).state, queue.get(job=job).result) == ("succeeded", 42)


def test_a_process_that_ends_well_without_a_result_has_not_succeeded(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    job = add("quiet", max_attempts=1)
    settle(worker)
    assert queue.get(job=job).state == "set aside"


def test_a_job_that_runs_too_long_is_ended(queue: LocalJobs, add: Add, worker: Worker) -> None:
    job = add("sleep", timeout_seconds=0.05)
    settle(worker)
    found = queue.get(job=job)
    assert (found.state, found.error) == ("failed", "It ran longer than its timeout of 0.05 s.")
    assert worker._executor.poll(f"{job}.1") not in (None, 0)


def test_a_running_job_is_cancelled_within_a_heartbeat(
    queue: LocalJobs, add: Add, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.jobs.worker.LEASE_SECONDS", 0.1)
    job = add("sleep")
    worker.reconcile()
    eventually(lambda: queue.log(job=job).text, what="the process to say something")
    queue.cancel(job=job)
    eventually(worker.reconcile, what="the cancel to be seen")
    assert queue.get(job=job).state == "cancelled"
    assert worker._executor.poll(f"{job}.1") not in (None, 0)
    assert queue.log(job=job).ended


def test_a_worker_that_lost_its_lease_ends_its_process_and_leaves_the_twin_alone(
    queue: LocalJobs,
    add: Add,
    worker: Worker,
    silence: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("treadle.jobs.worker.LEASE_SECONDS", 0.1)
    job = add("sleep")
    worker.reconcile()
    silence(job)
    twin = queue.lease("another")
    assert twin is not None
    eventually(lambda: worker.reconcile() and not worker.busy, what="the lost lease to be seen")
    assert queue.get(job=job) == twin
    assert worker._executor.poll(f"{job}.1") not in (None, 0)


def jumped(days: int) -> SimpleNamespace:
    """The module ``time`` where the system's clock has jumped."""
    return SimpleNamespace(time=lambda: time.time() + days * 86400)


@pytest.mark.parametrize("days", [1, -1])
def test_a_jump_of_the_systems_clock_does_not_begin_a_running_job_again(
    queue: LocalJobs, add: Add, worker: Worker, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    job = add("sleep")
    worker.reconcile()
    monkeypatch.setattr("treadle.jobs.local.time", jumped(days))
    assert worker.reconcile() == 0
    assert (queue.get(job=job).state, queue.get(job=job).attempt) == ("running", 1)
    monkeypatch.setattr("treadle.jobs.worker.LEASE_SECONDS", 0.0)
    worker.reconcile()  # sends a heartbeat, by the clock of now
    assert queue.lease("another") is None


def test_a_lost_workers_job_goes_on_where_the_clock_was_put_back(
    queue: LocalJobs, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add()
    assert queue.lease("lost") is not None
    monkeypatch.setattr("treadle.jobs.local.time", jumped(-1))
    twin = queue.lease("another")
    assert twin is not None
    assert (twin.id, twin.attempt) == (job, 2)


def test_a_worker_runs_no_more_jobs_than_it_has_slots(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    for _ in range(4):
        add("sleep")
    assert worker.reconcile() == 2
    assert worker.reconcile() == 0
    assert (len(queue.find(state="running")), len(queue.find(state="queued"))) == (2, 2)


def test_a_worker_that_stops_gives_its_jobs_back(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    job = add("sleep", max_attempts=1)
    worker.reconcile()
    worker.stop()
    assert not worker.busy
    assert queue.get(job=job).state == "queued"
    assert worker._executor.poll(f"{job}.1") is not None
    worker.reconcile()
    assert (queue.get(job=job).state, queue.get(job=job).attempt) == ("running", 2)


def test_a_failed_job_that_is_retried_runs_again(
    queue: LocalJobs, add: Add, worker: Worker
) -> None:
    job = add("crash", max_attempts=1)
    settle(worker)
    queue.retry(job=job)
    settle(worker)
    assert queue.get(job=job).state == "set aside"
    assert not queue.open()


def test_a_program_that_cannot_be_started_fails_its_job_not_the_worker(
    queue: LocalJobs, add: Add, executor: Subprocess
) -> None:
    absent = Worker(
        "w",
        queue,
        executor,
        lambda job: Launch(name=job.attempt_name, arguments=["/no/such/program"]),
    )
    job = add("sleep", max_attempts=1)
    absent.reconcile()
    absent.reconcile()
    assert queue.get(job=job).ended


def test_draining_ends_when_nothing_is_left(queue: LocalJobs, add: Add, worker: Worker) -> None:
    for _ in range(3):
        add("crash", max_attempts=1)
    worker.drain(timeout_seconds=20, reconcile=lambda: 0)
    assert len(queue.find(state="set aside")) == 3
    assert not queue.open()


def test_the_process_of_a_job_reports_its_own_error(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    home = open_home(executor=f"subprocess://{tmp_path / 'executor'}")
    with home.database.write() as transaction:
        job = home.jobs.enqueue(transaction, kind="fly", payload={})
    worker = home.worker("w")
    settle(worker)
    found = home.jobs.get(job=job)
    assert (found.state, found.attempt) == ("failed", 1)
    assert found.error == "No stage of this Treadle handles jobs of kind 'fly'."
    assert "No stage of this Treadle handles jobs of kind 'fly'." in home.jobs.log(job=job).text


def test_a_start_that_may_succeed_later_is_tried_again(
    queue: LocalJobs, add: Add, clock: ManualClock, tmp_path: Path
) -> None:
    class Recovering(Subprocess):
        troubles = 1

        def start(self, launch: Launch) -> None:
            if self.troubles:
                self.troubles -= 1
                raise Unavailable("the process that starts jobs has died")
            super().start(launch)

    executor = Recovering(f"subprocess://{tmp_path / 'recovering'}")
    worker = Worker("w", queue, executor, launch)
    job = add("crash", max_attempts=2)
    worker.reconcile()
    assert queue.get(job=job).state == "queued"
    clock.advance(timedelta(minutes=1))
    worker.reconcile()
    assert queue.get(job=job).state == "running"
    settle(worker)
    executor.close()
