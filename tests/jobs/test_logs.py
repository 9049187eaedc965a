"""What is shown of a job's output, from real log files of a real executor."""

import sys
from pathlib import Path

import pytest

from tests.jobs.conftest import Add, leased
from tests.kernel.eventually import eventually
from treadle.jobs.local import LocalJobs
from treadle.jobs.model import LogChunk
from treadle.kernel.errors import Invalid
from treadle.ports.executor import Executor, Launch


def printed(queue: LocalJobs, executor: Executor, add: Add, text: str) -> str:
    """A running job whose process has printed the text and ended."""
    add()
    job = leased(queue)
    code = f"import sys; sys.stdout.buffer.write({text!r}.encode())" if len(text) < 10_000 else text
    executor.start(Launch(name=job.attempt_name, arguments=[sys.executable, "-S", "-c", code]))
    eventually(lambda: executor.poll(job.attempt_name) is not None, what="the process")
    return job.id


def whole(queue: LocalJobs, job: str) -> list[LogChunk]:
    """All pieces, asked for as a LogChunk says, until it says that no more will come."""
    pieces = [queue.log(job=job)]
    while not pieces[-1].ended:
        pieces.append(queue.log(job=job, offset=pieces[-1].next_offset))
    return pieces


def test_a_job_that_was_not_started_has_an_empty_log(queue: LocalJobs, add: Add) -> None:
    assert queue.log(job=add()) == LogChunk(text="", next_offset=0, ended=False)


def test_a_log_is_read_piece_by_piece(queue: LocalJobs, executor: Executor, add: Add) -> None:
    job = printed(queue, executor, add, "flour\nwater\n")
    assert queue.log(job=job) == LogChunk(text="flour\nwater\n", next_offset=12, ended=False)
    assert queue.log(job=job, offset=6) == LogChunk(text="water\n", next_offset=12, ended=False)
    assert queue.log(job=job, offset=12) == LogChunk(text="", next_offset=12, ended=False)
    queue.cancel(job=job)
    queue.fail(queue.get(job=job), "cancelled")
    assert queue.log(job=job, offset=12).ended


def test_the_log_is_that_of_the_newest_attempt(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(queue, executor, add, "first")
    queue.release(queue.get(job=job))
    again = leased(queue)
    assert queue.log(job=job).text == ""
    executor.start(
        Launch(name=again.attempt_name, arguments=[sys.executable, "-S", "-c", "print('second')"])
    )
    eventually(lambda: executor.poll(again.attempt_name) is not None, what="the process")
    assert queue.log(job=job).text == "second\n"


def test_a_job_that_is_set_aside_keeps_its_log(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(queue, executor, add, "last words")
    for _ in range(3):
        queue.fail(queue.get(job=job), "ended by signal 9", lethal=True, final=True)
    assert queue.get(job=job).state == "set aside"
    assert queue.log(job=job) == LogChunk(text="last words", next_offset=10, ended=True)


LONG = "import sys; sys.stdout.buffer.write(('x' + 'é' * 600_000 + 'end').encode())"


def test_a_long_log_is_not_over_before_its_last_piece(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(queue, executor, add, LONG + " " * 10_000)
    queue.succeed(queue.get(job=job), None)
    assert whole(queue, job)[-1].text.endswith("end")


def test_a_letter_of_two_bytes_survives_the_end_of_a_piece(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(queue, executor, add, LONG + " " * 10_000)
    first = queue.log(job=job)
    rest = queue.log(job=job, offset=first.next_offset)
    assert "\ufffd" not in first.text + rest.text
    assert len(first.text + rest.text) == 600_004


def test_bytes_that_are_no_text_are_shown_as_such(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(
        queue, executor, add, "import sys; sys.stdout.buffer.write(b'\\xff!')" + " " * 10_000
    )
    assert queue.log(job=job).text == "\ufffd!"


def test_a_place_before_the_beginning_is_refused(
    queue: LocalJobs, executor: Executor, add: Add
) -> None:
    job = printed(queue, executor, add, "flour")
    with pytest.raises(Invalid, match="offset"):
        queue.log(job=job, offset=-1)


def test_a_place_after_the_end_is_empty(
    queue: LocalJobs, executor: Executor, add: Add, tmp_path: Path
) -> None:
    job = printed(queue, executor, add, "flour")
    assert queue.log(job=job, offset=99) == LogChunk(text="", next_offset=99, ended=False)
