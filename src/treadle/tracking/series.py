"""Metrics of runs over their steps."""

import math
from typing import Any

from sqlalchemy import Connection, select

from treadle.kernel.clock import from_micros
from treadle.kernel.names import RunId
from treadle.kernel.operation import query
from treadle.tracking import history
from treadle.tracking.model import (
    Downsampled,
    Point,
    Series,
)
from treadle.tracking.records import TrackingRecords
from treadle.tracking.segments import Points
from treadle.tracking.tables import (
    run_metrics,
)


class MetricSeries(TrackingRecords):
    """Series of points, whole or thinned out."""

    @query()
    def history(self, *, run: RunId, key: str) -> list[Point]:
        """All values of one metric, in order of step and of writing.

        Args:
            run: Id of the run.
            key: Name of the metric.

        Raises:
            NotFound: There is no such run.
        """
        points = self._points(run=run, key=key).in_order()
        return [
            Point(step=step, value=value, at=from_micros(at)) for step, at, value in points.rows()
        ]

    @query()
    def series(self, *, run: RunId) -> list[Series]:
        """What is known of each metric of a run: how many points, the last, the extremes.

        Args:
            run: Id of the run.

        Raises:
            NotFound: There is no such run.
        """
        with self._database.read() as connection:
            mine = run_metrics.c.run == self._number(connection, run)
            return [
                _series(row)
                for row in connection.execute(
                    select(run_metrics).where(mine).order_by(run_metrics.c.key)
                )
            ]

    @query()
    def chart(self, *, runs: list[RunId], key: str, points: int = 1_000) -> list[Downsampled]:
        """One metric of many runs, thinned out for a chart: each stretch keeps its extremes.

        Args:
            runs: Ids of the runs, 1,000 at most.
            key: Name of the metric.
            points: The most points for one run, between 4 and 100,000.

        Raises:
            NotFound: One of the runs is not there.
        """
        with self._database.read() as connection:
            return [
                self._thinned(connection, run, key, min(max(points, 4), 100_000))
                for run in runs[:1_000]
            ]

    def _thinned(self, connection: Connection, run: str, key: str, wanted: int) -> Downsampled:
        found = history.read(connection, self._number(connection, run), key).in_order()
        thin = found.at_places(history.thinned(found, wanted))
        steps = thin.steps.astype(float).tolist()
        return Downsampled(
            run=run,
            key=key,
            points=len(found),
            steps=steps,
            values=thin.value.tolist(),
            seconds=(thin.at / 1e6).tolist(),
        )

    def _points(self, *, run: str, key: str) -> Points:
        """All points of one metric as columns, in the order they came."""
        with self._database.read() as connection:
            return history.read(connection, self._number(connection, run), key)


def _series(row: Any) -> Series:
    return Series(
        key=row.key,
        points=row.points,
        last=math.nan if row.last is None else row.last,
        step=row.step + row.rest if row.rest else row.step,
        at=from_micros(row.at),
        low=row.low,
        high=row.high,
    )
