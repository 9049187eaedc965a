"""Counts an endpoint's answers by version over time: how many, how fast, how many failed."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import Entity
from treadle.serving.log_batch import LogBatch
from treadle.stats.histograms import LatencyHistogram

MOST_HOURS = 24 * 31
"""The longest period that is counted at once."""
MOST_POINTS = 1_000


class Traffic(Entity):
    """What one version of an endpoint answered in a piece of time.

    Attributes:
        at: The begin of the piece.
        version: The version that answered, such as ``flights:3``.
        role: Its part in the endpoint: champion, candidate or shadow.
        rows: Rows that it answered, failed ones included.
        per_second: The same, by the second.
        errors: Rows that it failed.
        error_share: Share of them.
        latency_ms_p50: The median of the latency in milliseconds.
        latency_ms_p99: Its 99 % quantile.
    """

    at: datetime
    version: str
    role: str
    rows: int
    per_second: float
    errors: int
    error_share: float
    latency_ms_p50: float
    latency_ms_p99: float


class _Count:
    def __init__(self) -> None:
        self.rows, self.errors, self.latencies = 0, 0, LatencyHistogram()


def traffic(
    batches: Iterable[LogBatch], since: datetime, until: datetime, points: int
) -> list[Traffic]:
    """Count the answers of a period in pieces of equal length, oldest first.

    Args:
        batches: The answers of the period.
        since: Its first moment.
        until: The moment after its last.
        points: The number of pieces.
    """
    length = (until - since) / points
    counts: dict[tuple[int, str, str], _Count] = {}
    for batch in batches:
        facts = batch.facts
        pieces = (batch.row_moments - to_micros(since)) // (length // timedelta(microseconds=1))
        micros = np.array(batch.row_micros)
        failed = np.zeros(len(batch), dtype=bool)
        failed[[int(row) for row in facts.errors]] = True
        for piece in np.unique(pieces):
            mine = pieces == piece
            key = (min(int(piece), points - 1), facts.version, facts.role)
            count = counts.setdefault(key, _Count())
            count.rows += int(mine.sum())
            count.errors += int(failed[mine].sum())
            count.latencies.add(micros[mine].tolist())
    return [
        Traffic(
            at=since + piece * length,
            version=version,
            role=role,
            rows=count.rows,
            per_second=count.rows / length.total_seconds(),
            errors=count.errors,
            error_share=count.errors / count.rows,
            latency_ms_p50=count.latencies.quantile(0.5),
            latency_ms_p99=count.latencies.quantile(0.99),
        )
        for (piece, version, role), count in sorted(counts.items())
    ]
