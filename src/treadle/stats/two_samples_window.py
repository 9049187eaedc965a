"""KSWIN: the newest values of a window beside a sample of its older ones."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from treadle.kernel.errors import Invalid
from treadle.stats.detectors import Detector

LEAST_DISTANCE = 0.1


@dataclass(kw_only=True)
class KSWIN(Detector):
    """Kolmogorov-Smirnov windowing (Raab, Heusinger and Schleif 2020).

    Attributes:
        alpha: Level of the test of each value.
        window_size: Values in the window.
        stat_size: How many of the newest are compared, with as many of the older ones.
        seed: Seed of the sample of the older ones.
    """

    alpha: float = 0.005
    window_size: int = 100
    stat_size: int = 30
    seed: int = 0
    window: list[float] = field(init=False, default_factory=list)
    p: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if not 0 < 2 * self.stat_size <= self.window_size:
            raise Invalid(
                f"KSWIN compares {self.stat_size} values with as many older ones of a window of "
                f"{self.window_size}. Make window_size twice stat_size at least."
            )
        self._random = random.Random(self.seed)

    def reset(self) -> None:
        """Forget all values, and draw as at the start."""
        super().reset()
        self._random = random.Random(self.seed)

    def state(self) -> dict[str, Any]:
        """Settings and memory as values of JSON, for ``restored_detector``."""
        known = super().state()
        version, numbers, left = self._random.getstate()
        known["memory"]["random"] = [version, list(numbers), left]
        return known

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over the memory of a detector with the same settings.

        Args:
            memory: What ``state`` gives as ``memory``.
        """
        version, numbers, left = memory["random"]
        super().remember({name: value for name, value in memory.items() if name != "random"})
        self._random.setstate((version, tuple(numbers), left))

    def _take(self, value: float) -> None:
        self.window = [*self.window, value][-self.window_size :]
        if len(self.window) < self.window_size:
            return
        older = range(self.window_size - self.stat_size)
        sample = [self.window[place] for place in self._random.sample(older, self.stat_size)]
        newest = self.window[-self.stat_size :]
        distance, self.p = equal_sizes_test(np.array(sample), np.array(newest))
        self.drifted = self.p <= self.alpha and distance > LEAST_DISTANCE
        if self.drifted:
            self.window = newest


def equal_sizes_test(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]
) -> tuple[float, float]:
    """Kolmogorov and Smirnov's two-sample test, exactly (Gnedenko and Korolyuk 1951).

    P(D ≥ h/n) = 2 Σₖ (-1)ᵏ⁺¹ C(2n, n - kh) / C(2n, n), over k = 1, 2, … while kh ≤ n.

    Args:
        first: Values (n,) of one sample.
        second: Values (n,) of the other, as many.

    Returns:
        The greatest distance of the two distribution functions, and the p-value.
    """
    count = len(first)
    both = np.sort(np.concatenate([first, second]))
    below = [np.searchsorted(np.sort(each), both, side="right") for each in (first, second)]
    steps = int(np.max(np.abs(below[0] - below[1])))
    if steps == 0:
        return 0.0, 1.0
    ways = sum(
        (-1) ** (k + 1) * math.comb(2 * count, count - k * steps)
        for k in range(1, count // steps + 1)
    )
    return steps / count, min(1.0, 2 * ways / math.comb(2 * count, count))
