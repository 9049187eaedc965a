"""Measures a tick of 1,000 objectives: counting a minute's answers, and evaluating all windows.

Prints one JSON line. Counts are 30 days long, as an endpoint's with traffic in each minute are
after thinning: by the minute for four days, by the hour before. CPU seconds, median of the ticks.
"""

import argparse
import json
import statistics
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import literal, select
from tests.delivery.desk import Desk, register

from treadle.kernel.clock import ManualClock
from treadle.monitoring.tables import slo_counts
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.scope.model import About, DataSource, ProjectSpec, Requirement

BOUNDS_MS = (50, 100, 250)


def requirements() -> list[Requirement]:
    """Four objectives for each endpoint."""
    fast = [
        Requirement(id=f"F{bound}", metric="latency_ms", at_most=bound, objective="99%")
        for bound in BOUNDS_MS
    ]
    return [Requirement(id="UP", metric="availability", objective="99.9%"), *fast]


def serve(platform: Embedded, name: str) -> Desk:
    """Declare a project with objectives and deploy a version of it."""
    source = DataSource(source="rows.csv", label="y")
    spec = ProjectSpec(project=About(name=name), data={"rows": source}, requirement=requirements())
    platform.scope.declare(spec=spec)
    platform.delivery.deploy(version=register(platform, name).ref)
    return Desk(platform, name)


def write_past(platform: Embedded, endpoints: list[str], now: datetime) -> int:
    """Write 30 days of counts of each objective; gives how many rows."""
    minutes = [now - timedelta(minutes=step) for step in range(4 * 1440)]
    hours = [now - timedelta(days=4, hours=step) for step in range(26 * 24)]
    moments = sorted({*minutes, *hours})
    first = {"endpoint": "the first", "condition": "of all"}
    rows = [
        first | {"until": at, "good": 99 * number, "total": 100 * number}
        for number, at in enumerate(moments, start=1)
    ]
    counts = slo_counts.c
    series = [(name, each.condition) for name in endpoints for each in requirements()]
    with platform.database.write() as transaction:
        transaction.execute(slo_counts.delete())
        transaction.execute(slo_counts.insert(), rows)
    for name, condition in series:
        copy = select(literal(name), literal(condition), counts.until, counts.good, counts.total)
        copy = copy.where(counts.endpoint == first["endpoint"])
        with platform.database.write() as transaction:
            names = ["endpoint", "condition", "until", "good", "total"]
            transaction.execute(slo_counts.insert().from_select(names, copy))
    return len(rows) * len(series)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objectives", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for(
            Path(folder, "home"), sandbox="off:", target="memory:", manual_clock=True
        )
        with Embedded(settings) as platform:
            print(json.dumps(measured(platform, given.objectives, given.ticks)))


def measured(platform: Embedded, objectives: int, ticks: int) -> dict[str, float]:
    """Set the objectives up and measure ticks."""
    clock = platform.clock
    assert isinstance(clock, ManualClock)
    clock.advance(timedelta(days=20_000))
    desks = [serve(platform, f"p{n}") for n in range(objectives // len(requirements()))]
    platform.slo.reconcile()
    rows = write_past(platform, [desk.name for desk in desks], clock.now())
    quiet: list[float] = []
    busy: list[float] = []
    for tick in range(2 * ticks):
        if tick % 2:
            for desk in desks:
                desk.answer("champion", 20)
        clock.advance(timedelta(minutes=1))
        began = time.process_time()
        platform.slo.reconcile()
        (busy if tick % 2 else quiet).append(time.process_time() - began)
    return {
        "objectives": len(desks) * len(requirements()),
        "rows": rows,
        "quiet_tick_cpu_seconds": round(statistics.median(quiet), 3),
        "tick_with_new_answers_cpu_seconds": round(statistics.median(busy), 3),
    }


if __name__ == "__main__":
    main()
