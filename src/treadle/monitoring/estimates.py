"""What estimating performance without labels gives: a metric per chunk, with what it rests on."""

from typing import NamedTuple

from treadle.kernel.entity import Entity
from treadle.stats.intervals import Estimate

CONFIDENCE_BASED = "CBPE"
DIRECT_LOSS = "DLE"
ASSUMPTIONS = {
    CONFIDENCE_BASED: (
        "It holds while a score means what it meant in the reference: inputs may change, "
        "the relation of inputs and truth may not (no concept drift)."
    ),
    DIRECT_LOSS: (
        "It holds while the model errs on like rows as it did in the reference: inputs may "
        "change, the relation of inputs and truth may not (no concept drift)."
    ),
}
"""What each method assumes, to be said next to its numbers."""


class Measured(NamedTuple):
    """One metric of some rows, before it is held against anything.

    Attributes:
        estimate: The estimate, with its 95 % interval.
        realised: The metric over the labelled rows; None where they do not show it.
        labels: How many rows have labels.
        corrected: The estimate corrected by the labels; None where they are too few.
    """

    estimate: Estimate
    realised: float | None
    labels: int
    corrected: Estimate | None


class MetricEstimate(Entity):
    """A metric of a chunk, estimated without labels.

    Attributes:
        metric: The metric's name.
        value: The estimate; None where there is none.
        low: Lower limit of its 95 % interval.
        high: Upper limit of it.
        limit_low: What it should not be below: the prediction limit of the reference's chunks,
            each estimated without its own labels; None with fewer than three chunks.
        limit_high: What it should not be above.
        outside: Whether it is outside of these limits.
        three_sigma_low: The realised mean of the reference's chunks less three deviations.
        three_sigma_high: The same, and three deviations more.
        outside_three_sigma: Whether it is outside of these.
        realised: The metric over the rows whose labels have come.
        labels: How many rows have labels.
        corrected: The estimate, corrected by these labels; None with fewer than ten.
        corrected_low: Lower limit of its 95 % interval.
        corrected_high: Upper limit of it.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    limit_low: float | None
    limit_high: float | None
    outside: bool
    three_sigma_low: float | None
    three_sigma_high: float | None
    outside_three_sigma: bool
    realised: float | None
    labels: int
    corrected: float | None
    corrected_low: float | None
    corrected_high: float | None


class ChunkEstimate(Entity):
    """Some rows, one after another, and their metrics.

    Attributes:
        first: The number of the first row, from 0, in order of time where that is given.
        rows: How many rows.
        usable: Rows with a score; the others have no part in it.
        start: The first row's time; None without times.
        end: The last row's time.
        metrics: The metrics.
    """

    first: int
    rows: int
    usable: int
    start: str | None
    end: str | None
    metrics: list[MetricEstimate]


class PerformanceEstimate(Entity):
    """A model's performance, estimated without labels, chunk by chunk.

    Attributes:
        method: ``CBPE`` for classifiers, ``DLE`` for regressors.
        assumes: What has to hold for it, in a sentence.
        reference_rows: Rows of known truth that it rests on.
        reference: Metric → its realised value in each chunk of the reference.
        chunks: The chunks, in order.
    """

    method: str
    assumes: str
    reference_rows: int
    reference: dict[str, list[float]]
    chunks: list[ChunkEstimate]

    def of(self, metric: str) -> list[MetricEstimate]:
        """One metric, chunk by chunk.

        Args:
            metric: The metric's name.
        """
        return [each for chunk in self.chunks for each in chunk.metrics if each.metric == metric]

    @property
    def outside(self) -> list[tuple[int, str]]:
        """The chunk's place and the metric of each estimate outside of its limits."""
        return [
            (place, each.metric)
            for place, chunk in enumerate(self.chunks)
            for each in chunk.metrics
            if each.outside
        ]
