"""Searches wait for each other, and nothing else waits for them."""

import asyncio
import threading

import pytest
from starlette.concurrency import run_in_threadpool

from treadle.http.searching import AT_ONCE, is_search, run_search


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
