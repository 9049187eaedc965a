"""Computes how many replicas an endpoint needs: Knative's rules, and a forecast from past weeks.

A replica is good for so many requests at once. The mean of requests in hand over a minute (stable)
says how many replicas that takes. The mean over six seconds (panic) says when scaling up cannot
wait a minute; during a panic no replica is taken away.
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
USED = 0.7  # share of a replica's concurrency to plan with: room until the next one is ready
PANIC_AT = 2.0  # panic when this many times the ready replicas are needed
MOST_DOWN = 2  # divide the number of replicas by this at most in one tick
TOLERANCE = 1.1  # a replica goes only when the others can take this many times the load


@dataclass(frozen=True)
class Scale:
    """An endpoint's limits of scaling.

    Attributes:
        least: The smallest number of replicas.
        most: The largest number of replicas.
        concurrency: How many requests at once a replica is good for.
    """

    least: int
    most: int
    concurrency: float


@dataclass(frozen=True)
class Wanted:
    """How many replicas an endpoint should have, and why."""

    replicas: int
    reason: str


def replicas_for(load: float, concurrency: float) -> int:
    """Return the number of replicas that a load needs.

    Args:
        load: Requests in hand, on average.
        concurrency: How many requests at once a replica is good for.
    """
    return math.ceil(load / (concurrency * USED))


class Autoscaler:
    """Computes an endpoint's number of replicas from what its replicas report at every tick.

    Args:
        scale: The endpoint's limits.
        started: When the autoscaler begins to watch.
    """

    def __init__(self, scale: Scale, started: datetime) -> None:
        self.scale = scale
        self._started = started
        # request-seconds that a process had spent when it was last looked at, by process id
        self._seen: dict[int, float] = {}
        # begin, end, and the request-seconds that were spent in between
        self._samples: deque[tuple[datetime, datetime, float]] = deque()
        self._panicked: datetime | None = None
        self._panic_most = 0
        self._busy_at = started
        self._looked = started

    def look(self, now: datetime, replicas: Iterable[Replica], expected: float = 0.0) -> Wanted:
        """Return how many replicas there should be.

        Args:
            now: The moment of the call.
            replicas: The replicas that run, with the request-seconds they have spent.
            expected: Requests in hand that are expected soon.
        """
        running = list(replicas)
        self._sample(now, {replica.pid: replica.busy_seconds for replica in running})
        stable, panic = self._mean(now, STABLE), self._mean(now, PANIC)
        ready = max(1, len([replica for replica in running if replica.ready]))
        usual = replicas_for(stable, self.scale.concurrency)
        urgent = replicas_for(panic, self.scale.concurrency)
        if urgent / ready >= PANIC_AT:
            self._panicked = now
        elif self._panicked is not None and now - self._panicked > STABLE:
            self._panicked, self._panic_most = None, 0
        if self._panicked is not None:
            self._panic_most = max(self._panic_most, urgent, usual, ready)
            needed = self._panic_most
            reason = f"{panic:.1f} requests in hand over {PANIC.seconds} s"
        else:
            eased = replicas_for(stable * TOLERANCE, self.scale.concurrency)
            needed = max(min(eased, max(usual, len(running))), len(running) // MOST_DOWN)
            reason = f"{stable:.1f} requests in hand over {STABLE.seconds} s"
            if not usual and now - max(self._busy_at, self._started) < STABLE + ZERO_GRACE:
                needed = max(needed, min(1, len(running)))  # the last one stays a while
            elif not usual and len(running) <= 1:
                needed = 0
        soon = replicas_for(expected, self.scale.concurrency)
        if soon > needed:
            needed = soon
            minutes = LEAD.seconds // 60
            reason = f"{expected:.1f} requests in hand are expected within {minutes} minutes"
        return Wanted(min(max(needed, self.scale.least), self.scale.most), reason)

    def _sample(self, now: datetime, spent: Mapping[int, float]) -> None:
        """Record the request-seconds spent since the last look."""
        busy = sum(
            seconds - min(self._seen.get(pid, 0.0), seconds) for pid, seconds in spent.items()
        )
        if now > self._looked:
            self._samples.append((self._looked, now, busy))
        first_replica = bool(spent) and not self._seen  # a request has woken the endpoint
        if busy > 0 or first_replica:
            self._busy_at = now
        self._seen, self._looked = dict(spent), now
        while self._samples and self._samples[0][1] <= now - STABLE:
            self._samples.popleft()

    def _mean(self, now: datetime, window: timedelta) -> float:
        """Requests in hand, on average over the window or the part of it that was sampled."""
        inside = [sample for sample in self._samples if sample[1] > now - window]
        if not inside:
            return 0.0
        sampled = max((now - inside[0][0]).total_seconds(), TICK.total_seconds())
        return sum(busy for _, _, busy in inside) / sampled


LEAD = timedelta(minutes=15)  # how long before an expected load its replicas start
WEEKS = 4  # how many weeks a forecast looks back


class Forecast:
    """Expects the concurrency that the same hour of the weekday had in the weeks before.

    Where that hour of the weekday was never seen, the same hour of any day counts.

    Args:
        seen: The load of past hours: the hour, and the requests in hand in its busier minutes.
    """

    def __init__(self, seen: Iterable[tuple[datetime, float]]) -> None:
        self._weekly: dict[tuple[int, int], list[float]] = {}
        self._daily: dict[int, list[float]] = {}
        for hour, load in sorted(seen):
            self._weekly.setdefault((hour.weekday(), hour.hour), []).append(load)
            self._daily.setdefault(hour.hour, []).append(load)

    def at(self, moment: datetime) -> float:
        """Return the requests in hand to expect; a newer week counts twice as much as the next.

        Args:
            moment: A moment within the hour in question.
        """
        seen = self._weekly.get((moment.weekday(), moment.hour)) or self._daily.get(moment.hour, [])
        newest = seen[-WEEKS:]
        if not newest:
            return 0.0
        weights = [2.0**age for age in range(len(newest))]
        weighted = sum(weight * load for weight, load in zip(weights, newest, strict=True))
        return weighted / sum(weights)

    def soon(self, now: datetime) -> float:
        """Return the most requests in hand to expect from now until `LEAD` later.

        Args:
            now: The moment of the call.
        """
        return max(self.at(now), self.at(now + LEAD))
