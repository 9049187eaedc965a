import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.jobs.conftest import Add, leased
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.jobs.model import JobEnded
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, NotFound
from treadle.kernel.event import acting
from treadle.ports.database import Database

SECOND = timedelta(seconds=1)


def ends(events: LocalEvents) -> list[JobEnded]:
    return [
        event
        for record in events.history(type="JobEnded")
        if isinstance(event := record.event(), JobEnded)
    ]


def test_a_job_is_queued_with_the_change_that_needs_it_or_not_at_all(
    database: Database, queue: LocalJobs, events: LocalEvents
) -> None:
    with pytest.raises(RuntimeError), database.write() as transaction:
        queue.enqueue(transaction, kind="bake", payload={})
        raise RuntimeError
    assert queue.find() == []
    assert events.history() == []
    assert not queue.open()


def test_an_empty_queue_leases_nothing(queue: LocalJobs) -> None:
    assert queue.lease("w") is None


def test_a_leased_job_is_not_leased_again(queue: LocalJobs, add: Add) -> None:
    add(flour="rye")
    job = leased(queue, "w1")
    assert (job.state, job.attempt, job.worker, job.payload) == (
        "running",
        1,
        "w1",
        {"flour": "rye"},
    )
    assert queue.lease("w2") is None


def test_each_job_is_leased_once_by_many_workers(queue: LocalJobs, add: Add) -> None:
    wanted = {add() for _ in range(12)}
    found: list[str] = []

    def work() -> None:
        while job := queue.lease(threading.current_thread().name):
            found.append(job.id)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(found) == sorted(wanted)


def test_what_was_due_first_is_leased_first(queue: LocalJobs, add: Add, clock: ManualClock) -> None:
    wanted = []
    for _ in range(5):
        wanted.append(add())
        clock.advance(SECOND)
    assert [leased(queue).id for _ in range(5)] == wanted


def test_a_result_ends_a_job_and_is_kept(queue: LocalJobs, add: Add, events: LocalEvents) -> None:
    add()
    job = leased(queue)
    assert queue.succeed(job, {"loaves": [1, 2]})
    ended = queue.get(job=job.id)
    assert (ended.state, ended.result, ended.error, ended.ended) == (
        "succeeded",
        {"loaves": [1, 2]},
        None,
        True,
    )
    assert [(event.state, event.attempts) for event in ends(events)] == [("succeeded", 1)]
    assert not queue.open()


def test_an_end_is_told_in_the_name_of_who_asked_and_because_of_the_asking(
    queue: LocalJobs, add: Add, events: LocalEvents
) -> None:
    with acting("ada"):
        add()
    with acting("worker"):
        queue.succeed(leased(queue), None)
    queued, ended = events.history()
    assert (queued.actor, ended.actor, ended.cause) == ("ada", "ada", queued.number)


def test_a_job_ends_once(queue: LocalJobs, add: Add, events: LocalEvents) -> None:
    add()
    job = leased(queue)
    assert queue.succeed(job, 1)
    assert not queue.succeed(job, 2)
    assert not queue.fail(job, "late", final=True)
    assert not queue.heartbeat(job)
    assert queue.get(job=job.id).result == 1
    assert len(ends(events)) == 1


def test_a_late_twin_can_neither_end_fail_keep_nor_release_the_job(
    queue: LocalJobs, add: Add, silence: Callable[[str], None], events: LocalEvents
) -> None:
    add()
    late = leased(queue, "lost")
    silence(late.id)
    twin = leased(queue, "new")
    assert (twin.id, twin.attempt, twin.worker) == (late.id, 2, "new")
    assert not queue.succeed(late, "stale")
    assert not queue.fail(late, "stale")
    assert not queue.fail(late, "stale", final=True)
    assert not queue.heartbeat(late)
    queue.release(late)
    assert queue.get(job=late.id) == twin
    assert queue.succeed(twin, "fresh")
    assert queue.get(job=late.id).result == "fresh"
    assert len(ends(events)) == 1


def test_a_twin_from_before_a_retry_is_late_too(
    queue: LocalJobs, add: Add, silence: Callable[[str], None]
) -> None:
    add(max_attempts=1)
    late = leased(queue, "lost")
    silence(late.id)
    assert queue.lease("new") is None
    queue.retry(job=late.id)
    fresh = leased(queue, "new")
    assert not queue.succeed(late, "stale")
    assert queue.succeed(fresh, "fresh")


def test_a_heartbeat_keeps_the_lease(
    queue: LocalJobs, add: Add, silence: Callable[[str], None]
) -> None:
    add()
    job = leased(queue)
    silence(job.id)
    assert queue.heartbeat(job)
    assert queue.lease("another") is None


def test_a_lease_does_not_run_out_because_a_manual_clock_jumps(
    queue: LocalJobs, add: Add, clock: ManualClock
) -> None:
    add()
    leased(queue)
    clock.advance(timedelta(days=365))
    assert queue.lease("another") is None


def test_failures_are_retried_with_doubled_waits_then_final(
    queue: LocalJobs, add: Add, clock: ManualClock, events: LocalEvents
) -> None:
    name = add(max_attempts=4)
    for wait in (1, 2, 4):
        assert queue.fail(leased(queue), "too hot")
        again = queue.get(job=name)
        assert (again.state, again.error, again.worker) == ("queued", "too hot", None)
        assert again.due_at == clock.now() + wait * SECOND
        clock.advance(wait * SECOND - timedelta(microseconds=1))
        assert queue.lease("w") is None
        clock.advance(timedelta(microseconds=1))
    assert queue.fail(leased(queue), "burnt")
    ended = queue.get(job=name)
    assert (ended.state, ended.error, ended.attempt) == ("failed", "burnt", 4)
    assert [(event.state, event.error, event.attempts) for event in ends(events)] == [
        ("failed", "burnt", 4)
    ]


def test_a_final_failure_is_not_retried(queue: LocalJobs, add: Add) -> None:
    name = add()
    queue.fail(leased(queue), "no such flour", final=True)
    assert (queue.get(job=name).state, queue.get(job=name).attempt) == ("failed", 1)


def test_a_job_that_kills_each_process_is_set_aside(
    queue: LocalJobs, add: Add, clock: ManualClock
) -> None:
    name = add(max_attempts=2)
    for _ in range(2):
        queue.fail(leased(queue), "ended by signal 9", lethal=True)
        clock.advance(timedelta(hours=1))
    assert (queue.get(job=name).state, queue.get(job=name).error) == (
        "set aside",
        "ended by signal 9",
    )


def test_a_job_that_kills_each_worker_is_set_aside_and_says_how_to_go_on(
    queue: LocalJobs, add: Add, silence: Callable[[str], None], events: LocalEvents
) -> None:
    name = add(max_attempts=2)
    for _ in range(2):
        leased(queue)
        silence(name)
    assert queue.lease("w") is None
    ended = queue.get(job=name)
    assert ended.state == "set aside"
    assert ended.error is not None
    assert "Its worker died in each of 2 attempts" in ended.error
    assert f"treadle jobs retry --job {name}" in ended.error
    assert [event.state for event in ends(events)] == ["set aside"]


def test_setting_one_job_aside_does_not_hide_the_next(
    queue: LocalJobs, add: Add, silence: Callable[[str], None]
) -> None:
    deadly = add(max_attempts=1)
    leased(queue)
    silence(deadly)
    harmless = add()
    assert leased(queue).id == harmless
    assert queue.get(job=deadly).state == "set aside"


def test_a_released_job_has_lost_no_attempt(queue: LocalJobs, add: Add) -> None:
    add(max_attempts=1)
    queue.release(leased(queue))
    assert queue.fail(leased(queue), "its own error")
    assert queue.find()[0].state == "failed"
    assert queue.find()[0].attempt == 2


def test_a_waiting_job_is_cancelled_at_once(
    queue: LocalJobs, add: Add, events: LocalEvents
) -> None:
    name = add()
    assert queue.cancel(job=name).state == "cancelled"
    assert queue.lease("w") is None
    assert [event.state for event in ends(events)] == ["cancelled"]
    with pytest.raises(Conflict, match=f"Job '{name}' has ended already \\(cancelled\\)"):
        queue.cancel(job=name)


def test_a_job_that_waits_for_its_next_attempt_is_cancelled_at_once(
    queue: LocalJobs, add: Add
) -> None:
    name = add()
    queue.fail(leased(queue), "too hot")
    assert queue.cancel(job=name).state == "cancelled"


def test_a_running_job_is_cancelled_when_its_worker_sees_it(
    queue: LocalJobs, add: Add, events: LocalEvents
) -> None:
    add()
    job = leased(queue)
    asked = queue.cancel(job=job.id)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    assert not queue.heartbeat(job)
    assert queue.fail(job, "It was cancelled.")
    assert queue.get(job=job.id).state == "cancelled"
    assert [event.state for event in ends(events)] == ["cancelled"]


def test_a_cancelled_job_is_not_started_again_when_its_worker_is_lost(
    queue: LocalJobs, add: Add, silence: Callable[[str], None]
) -> None:
    add()
    job = leased(queue)
    queue.cancel(job=job.id)
    silence(job.id)
    assert queue.lease("another") is None
    assert queue.get(job=job.id).state == "cancelled"


def test_a_cancelled_job_is_not_started_again_when_its_worker_stops(
    queue: LocalJobs, add: Add
) -> None:
    add()
    job = leased(queue)
    queue.cancel(job=job.id)
    queue.release(job)
    assert queue.lease("another") is None
    assert queue.get(job=job.id).state == "cancelled"


def test_an_ended_job_is_retried_with_all_its_attempts(
    queue: LocalJobs, add: Add, clock: ManualClock
) -> None:
    name = add(max_attempts=2)
    queue.fail(leased(queue), "no flour", final=True)
    again = queue.retry(job=name)
    assert (again.state, again.error, again.ended_at, again.cancel_requested) == (
        "queued",
        None,
        None,
        False,
    )
    queue.fail(leased(queue), "once")
    clock.advance(timedelta(hours=1))
    queue.fail(leased(queue), "twice")
    assert queue.get(job=name).state == "failed"


def test_the_attempts_after_a_retry_have_names_of_their_own(queue: LocalJobs, add: Add) -> None:
    """An executor starts a name once, so a retried job must come with another name."""
    name = add()
    first = leased(queue)
    queue.fail(first, "no flour", final=True)
    queue.retry(job=name)
    assert leased(queue).attempt_name != first.attempt_name


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_only_what_failed_can_be_retried(queue: LocalJobs, add: Add, state: str) -> None:
    name = add()
    if state != "queued":
        job = leased(queue)
        if state == "succeeded":
            queue.succeed(job, None)
    with pytest.raises(
        Conflict, match=f"Job '{name}' is {state}; only a failed, cancelled or set-aside job"
    ):
        queue.retry(job=name)


def test_jobs_are_found_newest_first_and_by_state(queue: LocalJobs, add: Add) -> None:
    names = {add() for _ in range(3)}
    running = leased(queue)
    assert {job.id for job in queue.find()} == names
    assert [job.id for job in queue.find(state="running")] == [running.id]
    assert len(queue.find(state="queued")) == 2
    assert len(queue.find(limit=1)) == 1


def test_an_absent_job_says_how_to_find_one(queue: LocalJobs) -> None:
    for ask in (queue.get, queue.cancel, queue.retry, queue.log):
        with pytest.raises(
            NotFound, match=r"There is no job 'job_x'\. List them with: treadle jobs find"
        ):
            ask(job="job_x")
