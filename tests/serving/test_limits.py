"""A caller gets its rate; the concurrency limit finds what a model can take, by simulation."""

import heapq
import math
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Busy, Invalid, NotFound, Unauthenticated
from treadle.serving.limits import (
    INITIAL_LIMIT,
    Caller,
    Callers,
    ConcurrencyLimit,
    Limited,
    read_callers,
)


def callers(per_second: float = 10.0, burst: float = 1.0) -> Callers:
    return Callers(
        [
            Caller(
                name="web", sha256=sha256(b"secret").hexdigest(), per_second=per_second, burst=burst
            )
        ]
    )


@given(
    st.floats(0.1, 1000), st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=100)
)
def test_no_more_than_the_burst_and_the_rate_is_admitted(
    rate: float, burst: int, waits: list[float]
) -> None:
    checked, now, admitted = callers(rate, burst), 100.0, []
    for wait in waits:
        now += wait / rate
        try:
            assert checked.admit(b"Bearer secret", now) == "web"
            admitted.append(now)
        except Limited as limited:
            later = callers(rate, burst)
            for moment in admitted:
                later.admit(b"Bearer secret", moment)
            later.admit(
                b"Bearer secret", now + limited.after_seconds + 1e-6
            )  # what it promises is kept
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= burst + rate * (admitted[last] - admitted[first]) + 1e-6


def test_a_caller_at_exactly_its_rate_is_never_refused() -> None:
    checked = callers(10)
    for number in range(1000):
        assert checked.admit(b"bearer secret", number / 10) == "web"


@pytest.mark.parametrize(
    "given", [None, b"", b"Bearer", b"Bearer other", b"Basic secret", b"secret"]
)
def test_whoever_is_not_known_is_refused(given: bytes | None) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Bearer TOKEN"):
        callers().admit(given, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[caller]]\nname='a'\nsha256='x'", "no SHA-256"),
        ("[[caller]]\nname='a'\nsha256='%s'\nper_second=0" % ("0" * 64), "above 0"),
        ("[[caller]]\nname='a'\nsha='x'", "sha"),
        ("caller", "no TOML"),
    ],
)
def test_a_file_of_callers_that_cannot_be_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "callers.toml").write_text(text)
    with pytest.raises(Invalid, match=message):
        read_callers(tmp_path / "callers.toml")
    with pytest.raises(NotFound):
        read_callers(tmp_path / "nowhere.toml")


class Model:
    """A queue before ``slots`` servers of ``seconds`` each, with a limited stream of requests."""

    def __init__(self, limit: ConcurrencyLimit, *, slots: int, seconds: float) -> None:
        self.limit, self.slots, self.seconds = limit, slots, seconds
        self.busy: list[float] = []  # when each slot is free again
        self.leaving: list[tuple[float, float]] = []
        self.now = 0.0

    def run(self, per_second: float, seconds: float) -> tuple[float, list[float]]:
        """Answers per second, and how long each answered request took."""
        took, until = [], self.now + seconds
        while self.now < until:
            self.now += 1 / per_second
            while self.leaving and self.leaving[0][0] <= self.now:
                ended, started = heapq.heappop(self.leaving)
                self.limit.sample(ended - started, len(self.leaving) + 1, ended)
                took.append(ended - started)
            if len(self.leaving) >= self.limit.value:
                continue
            free = heapq.heappop(self.busy) if len(self.busy) >= self.slots else self.now
            end = max(free, self.now) + self.seconds
            heapq.heappush(self.busy, end)
            heapq.heappush(self.leaving, (end, self.now))
        return len(took) / seconds, took


@pytest.mark.parametrize(("slots", "seconds"), [(1, 0.02), (4, 0.02), (1, 0.2), (32, 0.1)])
def test_under_three_times_the_load_answers_stay_many_and_quick(slots: int, seconds: float) -> None:
    model = Model(ConcurrencyLimit(), slots=slots, seconds=seconds)
    capacity = slots / seconds
    model.run(0.7 * capacity, 60)
    model.run(3 * capacity, max(60, 600 * seconds))  # finding the limit
    answered, took = model.run(3 * capacity, 60)
    assert answered >= 0.9 * capacity
    took.sort()
    assert took[int(0.99 * len(took))] <= 4 * seconds + 6 / capacity
    assert 1 <= model.limit.value < INITIAL_LIMIT


def test_a_quick_model_is_not_limited_for_its_queue() -> None:
    model = Model(ConcurrencyLimit(), slots=1, seconds=0.00002)
    model.run(45_000, 0.5)
    answered, _ = model.run(45_000, 0.5)
    assert answered >= 0.99 * 45_000
    assert model.limit.value >= INITIAL_LIMIT


def test_after_an_overload_the_limit_comes_back() -> None:
    model = Model(ConcurrencyLimit(initial=8), slots=4, seconds=0.02)
    model.run(600, 30)
    answered, _ = model.run(150, 30)
    assert answered >= 0.97 * 150


def test_what_is_limited_says_when() -> None:
    checked = callers(2, 1)
    checked.admit(b"Bearer secret", 10.0)
    with pytest.raises(Busy) as caught:
        checked.admit(b"Bearer secret", 10.1)
    assert math.isclose(caught.value.after_seconds, 0.4)  # type: ignore[attr-defined]
