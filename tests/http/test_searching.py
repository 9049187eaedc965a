"""Searches wait for each other, and nothing else waits for them."""

import asyncio
import threading

import pytest
from starlette.concurrency import run_in_threadpool

from treadle.data.quality import Quality
from treadle.http.searching import AT_ONCE, is_search, run_over_rows, run_search, turn_of
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("search", True),
        ("runs/search", True),
        ("metrics/get-history", True),
        ("find", False),
        ("runs/get", False),
        ("projects", False),
    ],
)
def test_searches_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_search(name) is expected


def test_few_searches_run_at_once_and_quick_questions_pass_them() -> None:
    running, most, free = set[int](), [0], threading.Event()

    def search(number: int) -> int:
        running.add(number)
        most[0] = max(most[0], len(running))
        assert free.wait(20)
        running.discard(number)
        return number

    async def main() -> list[int]:
        searches = [asyncio.ensure_future(run_search(search, number)) for number in range(60)]
        while len(running) < AT_ONCE:
            await asyncio.sleep(0.01)
        assert await run_in_threadpool(lambda: "quick") == "quick"
        free.set()
        return await asyncio.gather(*searches)

    assert asyncio.run(main()) == list(range(60))
    assert most == [AT_ONCE]


def test_what_reads_rows_takes_turns_apart_from_searches() -> None:
    free = threading.Event()

    async def main() -> tuple[str, str]:
        long = asyncio.ensure_future(run_over_rows(free.wait, 20))
        waiting = asyncio.ensure_future(run_over_rows(lambda: "rows"))
        searched = await run_search(lambda: "search")
        assert not waiting.done()
        free.set()
        await long
        return searched, await waiting

    assert asyncio.run(main()) == ("search", "rows")


def test_operations_that_read_all_rows_say_so() -> None:
    slow = {
        f"{service}.{operation.name}"
        for service, kind in kinds_of(stages()).items()
        for operation in operations(kind).values()
        if operation.reads_rows
    }
    reads = {f"quality.{name}" for name in operations(Quality) if name != "failures"}
    assert reads < slow
    assert {"data.changes", "data.count_rows", "data.snapshot", "features.materialise"} < slow


def test_operations_that_look_at_everything_take_turns_as_searches() -> None:
    turns = {
        f"{service}.{operation.name}": turn_of(operation)
        for service, kind in kinds_of(stages()).items()
        for operation in operations(kind).values()
    }
    assert {turns[name] for name in ("traces.find", "tracking.importance")} == {"search"}
    assert {turns[name] for name in ("registry.search", "logged_models.find")} == {"search"}
    assert {turns[name] for name in ("monitoring.traffic", "events.verify")} == {"rows"}
    assert turns["scope.projects"] == "quick"
