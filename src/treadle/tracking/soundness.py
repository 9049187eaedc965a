"""Finds series whose points are not those that were logged."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select

from treadle.kernel.errors import Invalid
from treadle.ports.damage import UNSOUND, Unsound
from treadle.ports.database import Database
from treadle.tracking.segments import unpack
from treadle.tracking.tables import run_metrics, run_segments, runs

_RUNS_AT_ONCE = 200


class TrackingSoundness:
    """Reads every packed piece of every series, and compares each series with its summary.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @UNSOUND()
    def unsound(self) -> Iterator[Unsound]:
        """Yield the series that are damaged."""
        after = -1
        while True:
            # A transaction for some runs only: a long one would let the write-ahead log grow.
            with self._database.snapshot() as connection:
                some = select(runs.c.number, runs.c.id).where(runs.c.number > after)
                names = dict(
                    connection.execute(some.order_by(runs.c.number).limit(_RUNS_AT_ONCE)).all()
                )
                if not names:
                    return
                here = run_segments.c.run.in_(names)
                pieces = connection.execute(
                    select(run_segments.c.run, run_segments.c.key, run_segments.c.body).where(here)
                ).all()
                columns = ("run", "key", "points", "low", "high")
                stored = connection.execute(
                    select(*(run_metrics.c[name] for name in columns)).where(
                        run_metrics.c.run.in_(names)
                    )
                ).all()
            yield from _compared(names, pieces, stored)
            after = max(names)


def _compared(
    names: dict[int, str], pieces: Sequence[Any], stored: Sequence[Any]
) -> Iterator[Unsound]:
    found: dict[tuple[int, str], tuple[int, float, float]] = {}
    broken = set()
    for run, key, body in pieces:
        try:
            values = unpack(body).value
        except Invalid as error:
            broken.add((run, key))
            yield Unsound(f"run '{names[run]}' (metric '{key}')", error.message)
            continue
        count, low, high = found.get((run, key), (0, np.inf, -np.inf))
        numbers = values[~np.isnan(values)]
        if len(numbers):
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        found[run, key] = count + len(values), low, high
    for run, key, points, low, high in stored:
        if (run, key) in broken:
            continue
        count, least, most = found.get((run, key), (0, np.inf, -np.inf))
        same = least == (np.inf if low is None else low) and most == (
            -np.inf if high is None else high
        )
        if count != points or not same:
            yield Unsound(
                f"run '{names[run]}' (metric '{key}')",
                f"its {count:,} stored points are not the {points:,} that its summary tells of",
            )
