"""Types of a backtest: what each policy would have done, and what that would have been worth."""

from datetime import datetime
from typing import Literal, NamedTuple

from treadle.kernel.entity import Entity
from treadle.ports.monitor import Finding
from treadle.stats.intervals import Estimate

Fate = Literal["live", "refused", "not enough evidence", "overtaken", "failed"]
Effect = Literal["better", "worse", "no clear difference", "not known"]

FIRST = "first"
"""Why the first model is trained."""


class Served(NamedTuple):
    """A part of a window in which one model answered.

    Attributes:
        model: The model's key.
        start: Number of the first row in the history.
        stop: Number of the row after the last.
    """

    model: str
    start: int
    stop: int


class Trained(NamedTuple):
    """A model that a backtest has trained.

    Attributes:
        key: Names the model within the backtest.
        rows: Number of rows that had a label by then, which the training was given.
        seconds: Processor time of the training in seconds.
        failure: Why there is no model; empty where there is one.
    """

    key: str
    rows: int
    seconds: float
    failure: str = ""


class Seen(NamedTuple):
    """A finding of a monitor.

    Attributes:
        monitor: The monitor's name.
        finding: What it has found.
    """

    monitor: str
    finding: Finding


class Value(Entity):
    """A metric with its 95 % interval; None where it cannot be computed.

    Attributes:
        value: The value.
        low: Lower limit.
        high: Upper limit.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, measured: Estimate) -> "Value":
        """Take an estimate, NaN as None.

        Args:
            measured: The estimate.
        """
        value, low, high = (None if one != one else round(float(one), 6) for one in measured)
        return cls(value=value, low=low, high=high)


NOTHING = Value(value=None)
"""A metric that cannot be computed."""


class Training(Entity):
    """One training of a replay, and what became of it.

    Attributes:
        at: When it was started.
        trigger: What started it, such as ``drift``; ``first`` for the first model.
        reason: The finding or schedule, in words.
        model: The model's key.
        rows: Rows that it learnt from, at most.
        seconds: Processor time in seconds.
        fate: What became of the model; ``overtaken`` means that history ended before it was live.
        verdict: The verdict's reason.
        live_at: When it answered all requests; None where it never did.
        replaced: Key of the model that it replaced.
        effect: Whether the answers were better than those the replaced model would have given to
            the same rows, until the next model or the end; by a paired 95 % interval.
        gain: That difference of the metric.
    """

    at: datetime
    trigger: str
    reason: str
    model: str
    rows: int
    seconds: float
    fate: Fate
    verdict: str = ""
    live_at: datetime | None = None
    replaced: str = ""
    effect: Effect = "not known"
    gain: Value = NOTHING


class Period(Entity):
    """A period of production, such as a month.

    Attributes:
        start: Its first moment.
        end: The moment after its last.
        rows: Rows in it whose label is known at last.
        value: The metric of what was served.
        never: The metric of the first model on the same rows.
        difference: How much better what was served is; its interval is that of a paired bootstrap.
    """

    start: datetime
    end: datetime
    rows: int
    value: float | None
    never: float | None
    difference: Value


class Replay(Entity):
    """What one policy would have done.

    Attributes:
        policy: The policy's name.
        trainings: All trainings, the first model's included, oldest first.
        periods: The metric by period.
        braked: How often a trigger was held back.
        mean: Mean of the metric over the periods after the first training.
        gain: Mean difference to never retraining over the same periods.
        worst: Smallest difference to never retraining in a period.
        harmed: Starts of the periods in which it was worse than never retraining beyond noise.
        missed: Ids of the requirements that a window missed beyond noise.
        false_alarms: Trainings that a finding started and whose model was not clearly better.
        detection_days: Mean days from the start of the first window in which the model did clearly
            worse than its verdict had promised, until a training started; None without such.
        undetected: Number of such stretches that no training ended.
    """

    policy: str
    trainings: list[Training]
    periods: list[Period]
    braked: int
    mean: float | None
    gain: float | None
    worst: float | None
    harmed: list[datetime]
    missed: list[str]
    false_alarms: int
    detection_days: float | None
    undetected: int

    @property
    def retrains(self) -> int:
        """Number of trainings after the first model."""
        return sum(training.trigger != FIRST for training in self.trainings)

    @property
    def seconds(self) -> float:
        """Processor time of the trainings after the first model, in seconds."""
        later = (each.seconds for each in self.trainings if each.trigger != FIRST)
        return round(sum(later), 1)

    @property
    def meets(self) -> bool:
        """Whether no window missed a requirement, and no period was worse than never retraining."""
        return not self.missed and not self.harmed


class Backtest(Entity):
    """Several policies over one history.

    Attributes:
        project: Name of the project.
        metric: The metric that policies are compared by.
        higher_is_better: Whether a larger value of it is better.
        start: Start of the replayed time.
        end: End of it.
        rows: Rows of production that were replayed.
        models: Number of models that were trained for all policies together.
        took: Duration of the backtest in seconds.
        replays: Each policy's outcome.
        frontier: Policies that no other beats in both quality and number of trainings.
        cheapest: The policy with the fewest trainings among those that meet the requirements; None
            where none does.
        assumptions: What the replay takes for granted.
    """

    project: str
    metric: str
    higher_is_better: bool
    start: datetime
    end: datetime
    rows: int
    models: int
    took: float
    replays: list[Replay]
    frontier: list[str]
    cheapest: str | None
    assumptions: list[str]
