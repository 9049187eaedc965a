"""A request's thread that does not come back is told with its stack; without any, all ends."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from anyio import to_thread

from treadle.platform.logs import TextLines, request_scope
from treadle.platform.stuck_threads import StuckThreads

ALL_STUCK = """
import anyio, time
from anyio import to_thread
from treadle.platform.stuck_threads import StuckThreads

def a_disk_that_never_answers():
    time.sleep(600)

async def main():
    to_thread.current_default_thread_limiter().total_tokens = 2
    threads = StuckThreads(0.2)
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(to_thread.run_sync, a_disk_that_never_answers)
        while True:
            await anyio.sleep(0.05)
            threads.look()

anyio.run(main)
"""


class Hold:
    """A function that a thread calls, and that returns when it is told to."""

    def __init__(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()

    def wait_for_a_disk(self) -> None:
        self.begun.set()
        self.end.wait(60)


async def held(hold: Hold) -> "asyncio.Future[None]":
    """A thread that is in the function now."""
    call = asyncio.ensure_future(to_thread.run_sync(hold.wait_for_a_disk))
    while not hold.begun.is_set():
        await asyncio.sleep(0.001)
    return call


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "treadle.threads"]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_a_call_that_does_not_come_back_is_told_once_with_stack_and_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(TextLines("server").format(record))

    async def work() -> None:
        threads, hold = StuckThreads(10), Hold()
        with request_scope("the-request"):
            call = await held(hold)
        for now in (0, 9):
            threads.look(now)
        assert lines(caplog) == []
        for now in (11, 20):
            threads.look(now)
        hold.end.set()
        await call
        threads.look(40)

    handler = Said()
    logging.getLogger("treadle.threads").addHandler(handler)
    try:
        run(work())
    finally:
        logging.getLogger("treadle.threads").removeHandler(handler)
    (line,) = said
    head, *stack = line.splitlines()
    assert "a request's thread has not come back for 11 s: it is in Condition.wait (" in head
    assert any("in wait_for_a_disk" in place for place in stack)
    assert "(request the-request, by " in line


def test_many_calls_in_the_same_thread_are_no_long_one(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        threads = StuckThreads(10)
        for now in (0, 20, 40):
            hold = Hold()
            call = await held(hold)
            threads.look(now)
            hold.end.set()
            await call
        threads.look(60)  # the thread waits for work
        threads.look(90)

    run(work())
    assert lines(caplog) == []


def test_it_can_be_turned_off(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        threads, hold = StuckThreads(0), Hold()
        call = await held(hold)
        threads.look(0)
        threads.look(1e9)
        hold.end.set()
        await call

    run(work())
    assert lines(caplog) == []


def test_a_process_whose_threads_are_all_stuck_ends_with_their_stacks() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ALL_STUCK], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1
    assert "all 2 threads for requests are stuck; the process ends" in ended.stderr
    assert ended.stderr.count("in a_disk_that_never_answers") >= 2
