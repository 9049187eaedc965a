"""How many replicas an endpoint needs: Knative's rules over the requests in hand, and what the same hour brought before.

A replica is good for so many requests at once. The mean over a minute says how many replicas that takes; the mean over six
seconds says when it cannot wait a minute (a panic, during which nothing is taken away).
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from treadle.ports.target import Replica

TICK = timedelta(seconds=2)
STABLE, PANIC = timedelta(seconds=60), timedelta(seconds=6)
ZERO_GRACE = timedelta(seconds=30)
USED = 0.7  # of what a replica is good for, so that there is room until the next one is ready
PANIC_AT = 2.0  # times what is there
MOST_DOWN = 2  # at most halved in one tick
TOLERANCE = 1.1  # a replica goes only when the others would do for so many times the load


@dataclass(frozen=True)
class Scale:
    """``least`` to ``most`` replicas, each good for ``concurrency`` requests at once."""

    least: int
    most: int
    concurrency: float


@dataclass(frozen=True)
class Wanted:
    replicas: int
    reason: str


def replicas_for(load: float, concurrency: float) -> int:
    """Replicas for so many requests in hand, each good for ``concurrency`` of them."""
    return math.ceil(load / (concurrency * USED))


class Autoscaler:
    """Feed it what the replicas say every tick; it says how many there should be."""

    def __init__(self, scale: Scale, started: datetime) -> None:
        self.scale = scale
        self._started = started
        self._seen: dict[
            int, float
        ] = {}  # process → request-seconds it had spent when last looked at
        self._samples: deque[tuple[datetime, datetime, float]] = (
            deque()
        )  # from, to, request-seconds in between
        self._panicked: datetime | None = None
        self._panic_most = 0
        self._busy_at = started
        self._looked = started

    def look(self, now: datetime, replicas: Iterable[Replica], expected: float = 0.0) -> Wanted:
        """How many replicas there should be, given those there are and the concurrency ``expected`` soon."""
        there = list(replicas)
        self._sample(now, {replica.pid: replica.busy_seconds for replica in there})
        stable, panic = self._mean(now, STABLE), self._mean(now, PANIC)
        ready = max(1, len([replica for replica in there if replica.ready]))
        usual, urgent = (replicas_for(load, self.scale.concurrency) for load in (stable, panic))
        if urgent / ready >= PANIC_AT:
            self._panicked = now
        elif self._panicked is not None and now - self._panicked > STABLE:
            self._panicked, self._panic_most = None, 0
        if self._panicked is not None:
            self._panic_most = max(self._panic_most, urgent, usual, ready)
            wanted, reason = (
                self._panic_most,
                f"{panic:.1f} requests in hand over {PANIC.seconds} s",
            )
        else:
            eased = replicas_for(stable * TOLERANCE, self.scale.concurrency)
            wanted = max(min(eased, max(usual, len(there))), len(there) // MOST_DOWN)
            reason = f"{stable:.1f} requests in hand over {STABLE.seconds} s"
            if not usual and now - max(self._busy_at, self._started) < STABLE + ZERO_GRACE:
                wanted = max(wanted, min(1, len(there)))  # the last one stays a while
            elif not usual and len(there) <= 1:
                wanted = 0
        soon = replicas_for(expected, self.scale.concurrency)
        if soon > wanted:
            wanted, reason = (
                soon,
                f"{expected:.1f} requests in hand are expected within {LEAD.seconds // 60} minutes",
            )
        return Wanted(min(max(wanted, self.scale.least), self.scale.most), reason)

    def _sample(self, now: datetime, spent: Mapping[int, float]) -> None:
        busy = sum(
            seconds - min(self._seen.get(pid, 0.0), seconds) for pid, seconds in spent.items()
        )
        if now > self._looked:
            self._samples.append((self._looked, now, busy))
        if busy > 0 or (spent and not self._seen):  # a request has woken one
            self._busy_at = now
        self._seen, self._looked = dict(spent), now
        while self._samples and self._samples[0][1] <= now - STABLE:
            self._samples.popleft()

    def _mean(self, now: datetime, window: timedelta) -> float:
        """Requests in hand, on average over the window, or over as much of it as has been seen."""
        inside = [sample for sample in self._samples if sample[1] > now - window]
        if not inside:
            return 0.0
        return sum(busy for _, _, busy in inside) / max(
            (now - inside[0][0]).total_seconds(), TICK.total_seconds()
        )


LEAD = timedelta(minutes=15)  # how long before an expected load its replicas are there
WEEKS = 4


class Forecast:
    """The concurrency to expect, from the same hour of the same weekday in the weeks before; else from the same hour of any day.

    ``seen`` is the load of past hours: (hour, requests in hand in its busier minutes).
    """

    def __init__(self, seen: Iterable[tuple[datetime, float]]) -> None:
        self._weekly: dict[tuple[int, int], list[float]] = {}
        self._daily: dict[int, list[float]] = {}
        for hour, load in sorted(seen):
            self._weekly.setdefault((hour.weekday(), hour.hour), []).append(load)
            self._daily.setdefault(hour.hour, []).append(load)

    def at(self, moment: datetime) -> float:
        """Requests in hand to expect in the moment's hour: newer weeks count twice as much as those before them."""
        seen = self._weekly.get((moment.weekday(), moment.hour)) or self._daily.get(moment.hour, [])
        newest = seen[-WEEKS:]
        weights = [2.0**place for place in range(len(newest))]
        return (
            sum(w * load for w, load in zip(weights, newest, strict=True)) / sum(weights)
            if newest
            else 0.0
        )

    def soon(self, now: datetime) -> float:
        """The most to expect from now until LEAD later."""
        return max(self.at(now), self.at(now + LEAD))
