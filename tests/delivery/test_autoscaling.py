"""The autoscaler in simulated time: replicas that take a while to be ready, under loads that come
and go.
"""

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.delivery.desk import Desk, open_desk
from treadle.delivery.autoscaling import LEAD, TICK, Autoscaler, Forecast, Scale
from treadle.platform.wiring import Embedded
from treadle.ports.target import Replica
from treadle.scope.model import About, ProjectSpec
from treadle.scope.policies import RolloutPolicy, ServingPolicy

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
READY_SECONDS = 4.0


class Cluster:
    """Replicas that share a load evenly once they are ready."""

    def __init__(
        self,
        scale: Scale,
        load: Callable[[float], float],
        expected: Callable[[datetime], float] | None = None,
    ):
        self.autoscaler, self.load, self.expected = (
            Autoscaler(scale, START),
            load,
            expected or (lambda _: 0.0),
        )
        self.seconds, self.pids = 0.0, 0
        self.there: list[
            tuple[int, float, list[float]]
        ] = []  # process, when it is ready, what it has spent
        self.counts: list[int] = []
        self.want(scale.least)

    def want(self, replicas: int) -> None:
        while len(self.there) < replicas:
            self.pids += 1
            self.there.append((self.pids, self.seconds + READY_SECONDS, [0.0]))
        del self.there[replicas:]

    def run(self, seconds: float) -> "Cluster":
        until = self.seconds + seconds
        while self.seconds < until:
            step = TICK.total_seconds()
            load = self.load(self.seconds)
            if not self.there and load:
                self.want(1)  # what is held wakes one
            ready = [one for one in self.there if one[1] <= self.seconds]
            for one in ready:
                one[2][0] += load * step / len(ready)
            self.seconds += step
            now = START + timedelta(seconds=self.seconds)
            replicas = [
                Replica(
                    url="u", pid=pid, generation=1, ready=at <= self.seconds, busy_seconds=spent[0]
                )
                for pid, at, spent in self.there
            ]
            self.want(self.autoscaler.look(now, replicas, self.expected(now)).replicas)
            self.counts.append(len(self.there))
        return self


def test_a_steady_load_finds_its_replicas_and_keeps_them() -> None:
    cluster = Cluster(Scale(1, 10, 10.0), lambda _: 20.0).run(120)
    assert cluster.counts[-1] == math.ceil(20 / 7)
    assert len(set(cluster.run(600).counts[-250:])) == 1


def test_a_spike_is_met_within_seconds_and_let_go_slowly() -> None:
    cluster = Cluster(Scale(1, 20, 10.0), lambda s: 70.0 if 300 <= s < 330 else 3.0).run(300)
    assert cluster.counts[-1] == 1
    cluster.run(10)
    assert cluster.counts[-1] >= 8
    peak = max(cluster.run(50).counts)
    assert peak >= 10
    assert cluster.counts[-1] == peak, "nothing is taken away in a panic"
    assert cluster.run(150).counts[-1] == 1


def test_idleness_ends_the_last_one_after_a_minute_and_a_half_and_a_request_brings_it_back() -> (
    None
):
    cluster = Cluster(Scale(0, 4, 8.0), lambda s: 1.0 if s < 20 or s > 400 else 0.0).run(80)
    assert cluster.counts[-1] == 1
    assert cluster.run(60).counts[-1] == 0
    assert cluster.run(300).counts[-1] == 1


def test_without_a_declared_zero_one_stays() -> None:
    assert set(Cluster(Scale(1, 4, 8.0), lambda _: 0.0).run(600).counts) == {1}


def test_a_noisy_load_does_not_make_it_thrash() -> None:
    noise = random.Random(0)
    cluster = Cluster(Scale(1, 20, 10.0), lambda _: noise.uniform(25.0, 45.0)).run(1800)
    settled = cluster.counts[100:]
    assert max(settled) - min(settled) <= 1
    assert sum(before != after for before, after in pairwise(settled)) <= 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 500), min_size=1, max_size=8),
    st.integers(0, 3),
    st.integers(1, 12),
    st.floats(0.5, 50),
)
def test_it_stays_within_what_is_declared_and_never_more_than_halves(
    loads: list[float], least: int, more: int, concurrency: float
) -> None:
    cluster = Cluster(
        Scale(least, least + more, concurrency), lambda s: loads[int(s / 40) % len(loads)]
    ).run(320)
    assert all(least <= count <= least + more for count in cluster.counts)
    for before, after in pairwise(cluster.counts):
        assert after >= before // 2


def test_replicas_are_there_before_the_peak_that_every_monday_brings() -> None:
    weeks = [(START - timedelta(weeks=week) + timedelta(hours=9), 42.0) for week in range(1, 5)]
    forecast = Forecast(
        [*weeks, *((START - timedelta(days=1) + timedelta(hours=h), 1.0) for h in range(24))]
    )
    cluster = Cluster(Scale(1, 20, 10.0), lambda _: 1.0, forecast.soon)
    cluster.run(9 * 3600 - LEAD.total_seconds() - 60)
    assert cluster.counts[-1] == 1
    cluster.run(120)
    assert cluster.counts[-1] == math.ceil(42 / 7)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [([], 0.0), ([10.0], 10.0), ([10.0, 40.0], 30.0), ([99.0, 0.0, 0.0, 0.0, 15.0], 8.0)],
)
def test_newer_weeks_count_more_and_old_ones_not_at_all(seen: list[float], expected: float) -> None:
    hours = [(START - timedelta(weeks=len(seen) - place), load) for place, load in enumerate(seen)]
    assert Forecast(hours).at(START + timedelta(minutes=59)) == pytest.approx(expected)


def test_an_hour_nobody_knows_is_like_the_same_hour_of_other_days() -> None:
    forecast = Forecast([(START + timedelta(hours=9), 12.0)])
    assert forecast.at(START + timedelta(days=3, hours=9)) == 12.0
    assert forecast.at(START + timedelta(days=3, hours=10)) == 0.0


def test_the_log_tells_the_load_of_its_hours(open_home: Callable[..., Embedded]) -> None:
    desk = open_desk(open_home, requirements=[])
    desk.live()
    for _ in range(30):  # half an hour of two requests in hand: each minute 120 that take a second
        desk.answer("champion", 120, micros=1_000_000)
        desk.clock.advance(timedelta(minutes=1))
    desk.clock.advance(timedelta(days=7) - timedelta(minutes=30))
    (now, *_) = desk.platform.delivery.forecast(endpoint="p", hours=2)
    assert now.concurrency == pytest.approx(2.0)
    assert now.per_second == pytest.approx(2.0)
    assert now.replicas == 1


def test_an_endpoint_is_scaled_by_what_its_replicas_say(open_home: Callable[..., Embedded]) -> None:
    platform = open_home("home", target="memory:", manual_clock=True)
    desk = Desk(platform)
    rollout, serving = (
        RolloutPolicy(steps=["100%"]),
        ServingPolicy(replicas=1, max_replicas=5, concurrency=10),
    )
    spec = ProjectSpec(project=About(name="p"), rollout=rollout, serving=serving)
    platform.scope.declare(spec=spec)
    desk.live()
    target = platform.target
    for _ in range(60):
        target.busy_seconds += 2 * 20.0
        desk.wait(seconds=2)
    status = target.observe("p")
    assert status is not None and status.wanted == math.ceil(20 / 7)
    scaled = desk.events("EndpointScaled")
    assert scaled and "requests in hand" in scaled[0].body["reason"]
    for _ in range(120):
        desk.wait(seconds=2)
    assert target.specs["p"].replicas == 1
    assert target.specs["p"].generation == status.generation, (
        "no new generation, so no rollout begins again"
    )
