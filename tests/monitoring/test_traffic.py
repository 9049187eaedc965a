"""Answers counted by version over time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from treadle.kernel.clock import to_micros
from treadle.monitoring.traffic import traffic
from treadle.ports.runtime import Field, Layout
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
LAYOUT = Layout([Field(name="x", kind="number")])


def batch(hour: float, version: str, micros: list[int], failed: int = 0) -> LogBatch:
    rows = len(micros)
    return LogBatch.of(
        ids=[f"{hour}-{version}-{row}" for row in range(rows)],
        counts=[1] * rows,
        micros=micros,
        at=to_micros(SINCE + timedelta(hours=hour)),
        version=version,
        role="champion" if version == "m:1" else "candidate",
        generation=1,
        layout=LAYOUT,
        rows=Rows(np.zeros((rows, 1)), np.empty((rows, 0), dtype=object)),
        outputs=np.zeros(rows, dtype=np.float32),
        errors=dict.fromkeys(range(failed), "failed"),
    )


def test_each_version_is_counted_by_itself_in_the_piece_of_its_answers() -> None:
    answered = [
        batch(0.5, "m:1", [1_000] * 8),
        batch(0.9, "m:1", [1_000] * 2, failed=1),
        batch(0.9, "m:2", [9_000] * 4, failed=4),
        batch(3.99, "m:1", [2_000]),
    ]
    found = traffic(answered, SINCE, SINCE + timedelta(hours=4), points=4)
    assert [(one.at.hour, one.version, one.rows, one.errors) for one in found] == [
        (0, "m:1", 10, 1),
        (0, "m:2", 4, 4),
        (3, "m:1", 1, 0),
    ]
    assert found[0].per_second == 10 / 3600 and found[0].error_share == 0.1
    assert found[1].latency_ms_p99 == pytest.approx(9, rel=0.02)
    assert found[1].role == "candidate"
