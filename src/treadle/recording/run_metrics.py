"""Logs metrics to a run: a point is a record that is packed into mapped memory, without a lock."""

import struct
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from time import time_ns
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from treadle.kernel.clock import to_micros
from treadle.kernel.errors import Invalid
from treadle.recording.lines import KeptSeries, Line
from treadle.recording.point_records import RECORDS, WHOLE, pack_whole
from treadle.recording.run_facts import RunFacts
from treadle.recording.spool import Writer
from treadle.tracking.segments import Points, pack_arrays

PIECE = 1 << 18
"""Number of points of a series in one piece."""
_MASK = RECORDS - 1


class RunMetrics(RunFacts):
    """Metrics of a run, as one process logs them.

    Args:
        id: Id of the run.
        spool: Folder that holds what is not sent yet.
        folder: Name of the run's folder in the spool.
        writer: Writes this process's part of the run; without one, the first thing logged makes
            it.
    """

    def __init__(self, id: str, spool: Path, folder: str, writer: Writer | None) -> None:
        super().__init__(id, spool, folder, writer)
        self._places = writer.places if writer else count()
        self._pages = writer.pages if writer else []
        self._keys = writer.keys if writer else {}
        self._next_steps: dict[str, int] = {}
        self._counted = count()

    def log(
        self,
        values: Mapping[str, SupportsFloat] | None = None,
        /,
        *,
        step: float | None = None,
        **metrics: SupportsFloat,
    ) -> None:
        """Add one value to each of some metrics.

        Examples: ``run.log(step=3, loss=0.25)``, ``run.log({"val/loss": 0.3}, step=3)``. A call
        takes less than a microsecond for two metrics.

        Args:
            values: Values by metric; NaN and infinities are kept.
            step: Step of the values; it may have a fraction and may repeat. By default the number
                of earlier calls without a step.
            **metrics: Further values by metric.

        Raises:
            Invalid: A value is not a number, or the name of a metric or the step is malformed.
            Conflict: The run has ended.
        """
        at = time_ns() // 1000
        if values is not None:
            metrics = {**values, **metrics}
        if step is None:
            step = next(self._counted)
        places, pages, keys = self._places, self._pages, self._keys
        for key, value in metrics.items():
            place = next(places)
            try:
                pack_whole(
                    pages[place >> 16], (place & _MASK) << 5, step, at, value, keys[key], WHOLE
                )
            except (KeyError, IndexError, TypeError, struct.error):
                self._record(places, place, key, value, step, at)

    def log_series(
        self, key: str, values: Any, *, steps: Any = None, at: Sequence[datetime] | None = None
    ) -> None:
        """Add many points of one metric at once.

        Args:
            key: Name of the metric.
            values: Values of shape (points,).
            steps: Steps of shape (points,); by default they count on from 0.
            at: Time of each point, aware; by default now.

        Raises:
            Invalid: The lengths differ, or a step or the metric's name is malformed.
            Conflict: The run has ended.
        """
        column = np.asarray(values, np.float64).reshape(-1)
        size = len(column)
        if steps is None:
            first = self._next_steps.get(key, 0)
            self._next_steps[key] = first + size
            steps = np.arange(first, first + size)
        numbers = np.asarray(steps).reshape(-1)
        if len(numbers) != size or (at is not None and len(at) != size):
            raise Invalid(
                f"Metric '{key}': {size} values need as many steps and times, not {len(numbers)}."
            )
        if at is None:
            times = np.full(size, time_ns() // 1000)
        else:
            times = np.array([to_micros(moment) for moment in at], np.int64)
        whole, fractions = _split(key, numbers)
        writer = self._mine()
        writer.number(key)
        for start in range(0, size, PIECE):
            part = slice(start, start + PIECE)
            rest = None if fractions is None else fractions[part]
            piece = writer.piece(pack_arrays(Points(whole[part], rest, times[part], column[part])))
            writer.add(Line(series=KeptSeries(key=key, piece=piece)))

    def _record(
        self, places: "count[int]", place: int, key: str, value: Any, step: Any, at: int
    ) -> None:
        """Write a point that needs a key, a page or a writer first, has a fraction, or is wrong."""
        writer = self._mine()
        if writer.places is not places:  # the place belongs to another process
            place = next(writer.places)
        writer.record(place, key, value, step, at)
        self._places = writer.places
        self._pages = writer.pages
        self._keys = writer.keys


def _split(
    key: str, steps: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
    """Steps as whole parts and fractions; None for the fractions when all steps are whole."""
    if steps.dtype.kind in "iu" and (not len(steps) or int(steps.max()) < 2**63):
        return steps.astype(np.int64), None
    if steps.dtype.kind != "f" or not bool(np.all(np.abs(steps) < 2.0**63)):
        raise Invalid(f"Metric '{key}': a step is a finite number below 2^63.")
    fractions, whole_parts = np.modf(steps.astype(np.float64))
    return whole_parts.astype(np.int64), fractions if fractions.any() else None
