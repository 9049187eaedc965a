"""ADWIN: a window of values that shrinks when its older part has another mean."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from treadle.stats.detectors import Detector


@dataclass(kw_only=True)
class ADWIN(Detector):
    """Adaptive windowing (Bifet and Gavaldà 2007, "Learning from time-changing data").

    The window is kept as buckets of 1, 2, 4 … values, at most ``max_buckets`` of a size, so that n
    values take memory and time of log n. It has changed when the means of an older and a newer part
    differ by more than a bound that holds for all cuts with probability 1 - delta.

    Attributes:
        delta: Probability of a false alarm.
        clock: How many values pass between two looks.
        max_buckets: Most buckets of one size.
        min_window_length: Fewest values of either part.
        grace_period: Values before which it says nothing.
    """

    delta: float = 0.002
    clock: int = 32
    max_buckets: int = 5
    min_window_length: int = 5
    grace_period: int = 10
    ticks: int = field(init=False, default=0)
    width: int = field(init=False, default=0)
    total: float = field(init=False, default=0.0)
    spread: float = field(init=False, default=0.0)
    buckets: list[list[list[float]]] = field(init=False, default_factory=lambda: [[]])
    """By size, 2⁰ first, and the oldest first within one: each bucket's sum, and its squared
    deviations from its own mean."""

    @property
    def mean(self) -> float:
        """Mean of the values in the window; 0 without any."""
        return self.total / self.width if self.width else 0.0

    def _take(self, value: float) -> None:
        if self.width:
            self.spread += self.width * (value - self.mean) ** 2 / (self.width + 1)
        self.width += 1
        self.total += value
        self.buckets[0].append([value, 0.0])
        self._compress()
        self.ticks += 1
        if self.ticks % self.clock == 0 and self.width > self.grace_period:
            while self._has_changed():
                self.drifted = True
                self._forget_oldest()

    def _compress(self) -> None:
        """Make two buckets one of twice the size wherever there are too many."""
        for place, row in enumerate(self.buckets):
            if len(row) <= self.max_buckets:
                return
            size = 2**place
            (first, spread), (second, other) = row[:2]
            del row[:2]
            joined = spread + other + size * (first / size - second / size) ** 2 / 2
            if place + 1 == len(self.buckets):
                self.buckets.append([])
            self.buckets[place + 1].append([first + second, joined])

    def _has_changed(self) -> bool:
        older, older_total = 0, 0.0
        for size, total in self._oldest_first():
            older, older_total = older + size, older_total + total
            newer = self.width - older
            if newer < self.min_window_length:
                return False
            if older >= self.min_window_length:
                gap = older_total / older - (self.total - older_total) / newer
                if abs(gap) > self._bound(older, newer):
                    return True
        return False

    def _oldest_first(self) -> Iterator[tuple[int, float]]:
        for place in range(len(self.buckets) - 1, -1, -1):
            for total, _ in self.buckets[place]:
                yield 2**place, total

    def _bound(self, older: int, newer: int) -> float:
        log = math.log(2 * math.log(self.width) / self.delta)
        shares = 1 / (older - self.min_window_length + 1) + 1 / (newer - self.min_window_length + 1)
        return math.sqrt(2 * shares * self.spread / self.width * log) + 2 / 3 * log * shares

    def _forget_oldest(self) -> None:
        size = 2 ** (len(self.buckets) - 1)
        total, spread = self.buckets[-1].pop(0)
        self.width -= size
        self.total -= total
        gap = (total / size - self.mean) ** 2
        self.spread -= spread + size * self.width * gap / (size + self.width)
        if not self.buckets[-1] and len(self.buckets) > 1:
            self.buckets.pop()
