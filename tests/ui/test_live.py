"""Open pages are told of new events, whatever becomes of one look at the log."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from treadle.platform.wiring import Embedded
from treadle.ui import live


class Log:
    """An event log whose looks answer with given numbers; None is a look that fails."""

    def __init__(self, *numbers: int | None) -> None:
        self._numbers: Iterator[int | None] = iter(numbers)
        self._last = 0

    def last_number(self) -> int:
        number = next(self._numbers, self._last)
        if number is None:
            raise OSError("The disk is full.")
        self._last = number
        return number


@pytest.mark.parametrize(
    ("log", "told"),
    [(Log(7, 8), [7, 8]), (Log(7, None, None, 9), [7, 9]), (Log(None, 5, 6), [5, 6])],
    ids=["first the present number", "after a look that failed", "after a first that failed"],
)
def test_pages_are_told_the_newest_number(
    monkeypatch: pytest.MonkeyPatch, log: Log, told: list[int]
) -> None:
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.01)
    pulse = live.Pulse(cast(Embedded, SimpleNamespace(events=log)))

    async def heard() -> list[Any]:
        news = pulse.news()
        found = [await asyncio.wait_for(anext(news), 10) for _ in told]
        await news.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(heard()) == [(number, 1) for number in told]
