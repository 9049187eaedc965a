"""Detectors of concept drift in a stream of errors or losses, one value at a time.

Each is told value by value and says when the stream has changed; after that it starts anew. Their
settings and their results are those of river 0.26. A detector's state is plain JSON, so a stream
survives a restart.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from treadle.kernel.errors import Invalid, did_you_mean


@dataclass(kw_only=True)
class Detector:
    """Watches a stream of values.

    Attributes:
        drifted: Whether the stream has changed at the last value.
        warning: Whether it may have begun to change; only of detectors that warn.
    """

    drifted: bool = field(init=False, default=False)
    warning: bool = field(init=False, default=False)

    def update(self, value: float) -> bool:
        """Take the next value; a detector that has found a change starts anew before.

        Args:
            value: The value; of DDM, EDDM and HDDM 1 for a wrong answer and 0 for a right one.

        Returns:
            Whether the stream has changed.

        Raises:
            Invalid: The value is not finite.
        """
        number = float(value)
        if not math.isfinite(number):
            raise Invalid(f"A detector takes finite numbers, and was given {number}. Leave it out.")
        if self.drifted:
            self.reset()
        self._take(number)
        return self.drifted

    def reset(self) -> None:
        """Forget all values."""
        for one in fields(self):
            if not one.init:
                fresh = one.default if one.default_factory is MISSING else one.default_factory()
                setattr(self, one.name, fresh)

    def state(self) -> dict[str, Any]:
        """Settings and memory as values of JSON, for ``restored_detector``."""
        known: dict[str, dict[str, Any]] = {"settings": {}, "memory": {}}
        for one in fields(self):
            value = getattr(self, one.name)
            plain = list(value) if isinstance(value, list) else value
            known["settings" if one.init else "memory"][one.name] = plain
        return {"detector": name_of(self), **known}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over the memory of a detector with the same settings.

        Args:
            memory: What ``state`` gives as ``memory``.
        """
        for name, value in memory.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def _take(self, value: float) -> None:
        raise NotImplementedError


@dataclass(kw_only=True)
class DDM(Detector):
    """Drift detection method: the error rate rises above its minimum (Gama et al. 2004).

    Warns at p + s > p_min + 2 s_min and has drifted at 3, with s = √(p (1-p) / n).

    Attributes:
        warm_start: Values before which it says nothing.
        warning_threshold: Deviations above the minimum at which it warns.
        drift_threshold: Deviations above the minimum at which it has drifted.
    """

    warm_start: int = 30
    warning_threshold: float = 2.0
    drift_threshold: float = 3.0
    seen: int = field(init=False, default=0)
    mean: float = field(init=False, default=0.0)
    least: list[float] = field(init=False, default_factory=list)

    def _take(self, value: float) -> None:
        self.seen, self.mean = _next_mean(self.seen, self.mean, value)
        deviation = math.sqrt(max(self.mean * (1 - self.mean), 0.0) / self.seen)
        if self.seen <= self.warm_start:
            return
        if not self.least or self.mean + deviation <= sum(self.least):
            self.least = [self.mean, deviation]
        reached, (mean, spread) = self.mean + deviation, self.least
        self.drifted = reached > mean + self.drift_threshold * spread
        self.warning = not self.drifted and reached > mean + self.warning_threshold * spread


@dataclass(kw_only=True)
class EDDM(Detector):
    """Early drift detection method: errors come closer together (Baena-García et al. 2006).

    Attributes:
        warm_start: Errors before which it says nothing.
        alpha: Share of the greatest distance below which it warns.
        beta: Share of the greatest distance below which it has drifted.
    """

    warm_start: int = 30
    alpha: float = 0.95
    beta: float = 0.9
    seen: int = field(init=False, default=0)
    last_error: int = field(init=False, default=0)
    errors: int = field(init=False, default=0)
    mean: float = field(init=False, default=0.0)
    squares: float = field(init=False, default=0.0)
    greatest: float = field(init=False, default=-1.0)

    def _take(self, value: float) -> None:
        self.seen += 1
        if value != 1:
            return
        distance, before = self.seen - self.last_error, self.mean
        self.errors, self.mean = _next_mean(self.errors, self.mean, distance)
        self.squares += (distance - before) * (distance - self.mean)
        self.last_error = self.seen
        if self.seen <= self.warm_start:
            return
        variance = self.squares / (self.errors - 1) if self.errors > 1 else 0.0
        reach = self.mean + 2 * math.sqrt(max(variance, 0.0))
        if reach > self.greatest:
            self.greatest = reach
        elif self.errors > self.warm_start:
            level = reach / self.greatest
            self.drifted = level < self.beta
            if not self.drifted:
                self.warning = level < self.alpha


@dataclass(kw_only=True)
class HDDMA(Detector):
    """Hoeffding's bound on the mean of bounded values, A-test (Frías-Blanco et al. 2015).

    Attributes:
        drift_confidence: Probability of a false alarm.
        warning_confidence: Probability of a false warning.
        two_sided_test: Whether a falling mean is a change, too.
    """

    drift_confidence: float = 0.001
    warning_confidence: float = 0.005
    two_sided_test: bool = False
    seen: int = field(init=False, default=0)
    mean: float = field(init=False, default=0.0)
    lowest: list[float] = field(init=False, default_factory=list)
    highest: list[float] = field(init=False, default_factory=list)

    def _take(self, value: float) -> None:
        self.seen, self.mean = _next_mean(self.seen, self.mean, value)
        here = [self.seen, self.mean]
        bound = self._bound(self.seen)
        if not self.lowest or self.lowest[1] + self._bound(self.lowest[0]) >= self.mean + bound:
            self.lowest = here
        if not self.highest or self.highest[1] - self._bound(self.highest[0]) <= self.mean - bound:
            self.highest = here
        self.drifted = self._moved(self.lowest, 1, self.drift_confidence)
        self.warning = not self.drifted and self._moved(self.lowest, 1, self.warning_confidence)
        if self.two_sided_test:
            if self._moved(self.highest, -1, self.drift_confidence):
                self.drifted = True
            elif self._moved(self.highest, -1, self.warning_confidence):
                self.warning = True

    def _bound(self, count: float) -> float:
        return math.sqrt(1.0 / (2 * count) * math.log(1.0 / self.drift_confidence))

    def _moved(self, cut: list[float], sign: int, confidence: float) -> bool:
        count, mean = cut
        if count == self.seen:
            return False
        share = (self.seen - count) / count * (1.0 / self.seen)
        return sign * (self.mean - mean) >= math.sqrt(share / 2 * math.log(2.0 / confidence))


@dataclass(kw_only=True)
class HDDMW(Detector):
    """McDiarmid's bound on weighted means of bounded values, W-test (Frías-Blanco et al. 2015).

    Attributes:
        drift_confidence: Probability of a false alarm.
        warning_confidence: Probability of a false warning.
        lambda_val: Weight of the newest value.
        two_sided_test: Whether a falling mean is a change, too.
    """

    drift_confidence: float = 0.001
    warning_confidence: float = 0.005
    lambda_val: float = 0.05
    two_sided_test: bool = False
    total: list[float] = field(init=False, default_factory=list)
    low_before: list[float] = field(init=False, default_factory=list)
    low_after: list[float] = field(init=False, default_factory=list)
    high_before: list[float] = field(init=False, default_factory=list)
    high_after: list[float] = field(init=False, default_factory=list)

    def _take(self, value: float) -> None:
        self.total = self._weighted(self.total, value)
        bound = self._bound(self.total[1])
        before = self.low_before
        if not before or self.total[0] + bound < before[0] + self._bound(before[1]):
            self.low_before, self.low_after = list(self.total), []
        else:
            self.low_after = self._weighted(self.low_after, value)
        before = self.high_before
        if not before or self.total[0] - bound > before[0] - self._bound(before[1]):
            self.high_before, self.high_after = list(self.total), []
        else:
            self.high_after = self._weighted(self.high_after, value)
        rise, fall = (self.low_before, self.low_after), (self.high_after, self.high_before)
        self.drifted = self._risen(*rise, self.drift_confidence)
        self.warning = not self.drifted and self._risen(*rise, self.warning_confidence)
        if self.two_sided_test:
            if self._risen(*fall, self.drift_confidence):
                self.drifted = True
            elif self._risen(*fall, self.warning_confidence):
                self.warning = True

    def _weighted(self, known: list[float], value: float) -> list[float]:
        """A weighted mean with one more value, and the sum of its squared weights."""
        weight = self.lambda_val
        mean, squares = known or (value, 1.0)
        mean = weight * value + (1 - weight) * mean if known else value
        return [mean, weight * weight + (1 - weight) ** 2 * squares]

    def _bound(self, squares: float, confidence: float | None = None) -> float:
        return math.sqrt(squares * math.log(1 / (confidence or self.drift_confidence)) / 2)

    def _risen(self, before: list[float], after: list[float], confidence: float) -> bool:
        if not before or not after:
            return False
        return after[0] - before[0] > self._bound(before[1] + after[1], confidence)


@dataclass(kw_only=True)
class PageHinkley(Detector):
    """Cumulative sum of deviations from the mean (Page 1954; Hinkley 1971).

    Attributes:
        min_instances: Values before which it says nothing.
        delta: The deviation that counts for nothing.
        threshold: The sum from which the stream has changed.
        alpha: How much of the sum stays at each value.
        mode: Which change counts: ``up``, ``down`` or ``both``.
    """

    min_instances: int = 30
    delta: float = 0.005
    threshold: float = 50.0
    alpha: float = 1 - 0.0001
    mode: str = "both"
    seen: int = field(init=False, default=0)
    mean: float = field(init=False, default=0.0)
    rise: float = field(init=False, default=0.0)
    fall: float = field(init=False, default=0.0)
    least_rise: float | None = field(init=False, default=None)
    most_fall: float = field(init=False, default=-1.0)

    def __post_init__(self) -> None:
        if self.mode not in ("up", "down", "both"):
            raise Invalid(f"'{self.mode}' is no mode of Page-Hinkley. Use up, down or both.")

    def _take(self, value: float) -> None:
        self.seen, self.mean = _next_mean(self.seen, self.mean, value)
        deviation = value - self.mean
        self.rise = self.alpha * self.rise + deviation - self.delta
        self.fall = self.alpha * self.fall + deviation + self.delta
        if self.least_rise is None or self.rise < self.least_rise:
            self.least_rise = self.rise
        self.most_fall = max(self.most_fall, self.fall)
        if self.seen >= self.min_instances:
            up = self.mode != "down" and self.rise - self.least_rise > self.threshold
            down = self.mode != "up" and self.most_fall - self.fall > self.threshold
            self.drifted = up or down


def detector(name: str, **settings: Any) -> Detector:
    """Make a detector of concept drift.

    Args:
        name: ``adwin``, ``ddm``, ``eddm``, ``hddm_a``, ``hddm_w``, ``kswin`` or ``page_hinkley``.
        **settings: Its settings, such as ``delta=0.002``.

    Raises:
        Invalid: There is no such detector, or no such setting.
    """
    kinds = _kinds()
    if name not in kinds:
        known = ", ".join(kinds)
        raise Invalid(
            f"There is no detector '{name}'.{did_you_mean(name, list(kinds))} There are: {known}."
        )
    own = [one.name for one in fields(kinds[name]) if one.init]
    unknown = [setting for setting in settings if setting not in own]
    if unknown:
        raise Invalid(
            f"'{name}' has no setting '{unknown[0]}'.{did_you_mean(unknown[0], own)} "
            f"It has: {', '.join(own)}."
        )
    return kinds[name](**settings)


def restored_detector(state: Mapping[str, Any]) -> Detector:
    """A detector that goes on where another has stopped.

    Args:
        state: What the other's ``state()`` gave, maybe through JSON.
    """
    made = detector(state["detector"], **state["settings"])
    made.remember(state["memory"])
    return made


def name_of(made: Detector) -> str:
    """The name that a detector is made by.

    Args:
        made: A detector.
    """
    return next(name for name, kind in _kinds().items() if type(made) is kind)


def _kinds() -> dict[str, type[Detector]]:
    from treadle.stats.adaptive_window import ADWIN
    from treadle.stats.two_samples_window import KSWIN

    return {
        "adwin": ADWIN,
        "ddm": DDM,
        "eddm": EDDM,
        "hddm_a": HDDMA,
        "hddm_w": HDDMW,
        "kswin": KSWIN,
        "page_hinkley": PageHinkley,
    }


def _next_mean(count: int, mean: float, value: float) -> tuple[int, float]:
    return count + 1, mean + (value - mean) / (count + 1)
