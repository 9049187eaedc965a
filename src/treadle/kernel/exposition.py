"""Writes metrics in Prometheus' text format and in OpenMetrics'; counts durations in buckets."""

import time
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Literal

from treadle.kernel.escaping import prometheus

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of durations, in seconds."""
_STARTED = time.time()
_UNITS = ("seconds", "bytes", "ratio")


class Histogram:
    """Counts durations in buckets.

    Attributes:
        counts: How many fell into each bucket, and beyond the last.
        sum: The sum of all durations, in seconds.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(SECONDS) + 1), 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration.

        Args:
            seconds: The duration.
        """
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class Family:
    """A metric with its series.

    Args:
        name: Its name, with the unit; that of a counter ends with ``_total``.
        kind: What it is.
        help: What it counts or measures, in a sentence.
    """

    def __init__(
        self, name: str, kind: Literal["counter", "gauge", "histogram"], help: str
    ) -> None:
        self.name, self.kind, self.help = name, kind, help
        self._lines: list[str] = []

    def add(self, value: float, **labels: str) -> None:
        """Add a series.

        Args:
            value: Its value.
            **labels: Its labels.
        """
        self._lines.append(f"{self.name}{labelled(**labels)} {_number(value)}")

    def add_histogram(self, histogram: Histogram, **labels: str) -> None:
        """Add the series of a histogram.

        Args:
            histogram: The histogram.
            **labels: Its labels.
        """
        counts = list(accumulate(histogram.counts))
        for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
            self._lines.append(f"{self.name}_bucket{labelled(**labels, le=bound)} {count}")
        self._lines.append(f"{self.name}_sum{labelled(**labels)} {_number(histogram.sum)}")
        self._lines.append(f"{self.name}_count{labelled(**labels)} {counts[-1]}")

    def lines(self, *, openmetrics: bool) -> list[str]:
        """Its lines; none where it has no series.

        Args:
            openmetrics: Whether they are OpenMetrics'.
        """
        if not self._lines:
            return []
        name = self.name.removesuffix("_total") if openmetrics else self.name
        head = [f"# HELP {name} {self.help}", f"# TYPE {name} {self.kind}"]
        unit = name.rpartition("_")[2]
        if openmetrics and unit in _UNITS:
            head.append(f"# UNIT {name} {unit}")
        return [*head, *self._lines]


def exposed(families: Iterable[Family], *, openmetrics: bool = False) -> str:
    """Write metrics as text.

    Args:
        families: The metrics, each once.
        openmetrics: Whether to write OpenMetrics 1.0 instead of Prometheus' format 0.0.4.
    """
    lines = [line for family in families for line in family.lines(openmetrics=openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def process_families() -> list[Family]:
    """What every process tells of itself; each change of its start is a restart."""
    started = Family(
        "process_start_time_seconds", "gauge", "When the process started, in seconds since 1970."
    )
    started.add(round(_STARTED, 3))
    return [started]


def labelled(**labels: str) -> str:
    """The labels of a series; empty for none.

    Args:
        **labels: Values by name.
    """
    pairs = ",".join(f"{name}={prometheus(value)}" for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(value)
