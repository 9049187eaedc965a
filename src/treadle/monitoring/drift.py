"""Compares two tables, or counts of them: which columns have drifted, by how much, and where."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from treadle.data.columns import Source
from treadle.data.pairs import Pair, count_pair, pair_of_profiles
from treadle.data.sources import open_source
from treadle.data.table_counts import count_each, profiles_in
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.monitoring.drift_report import ColumnReport, DriftReport, column_report
from treadle.monitoring.joint_drift import JointDrift, joint_drift
from treadle.monitoring.judging import EFFECT, FALSE_ALARMS, judge

Skipped = dict[str, str]
"""Why columns were not compared, by name."""


def drift(
    reference: Any,
    current: Any,
    *,
    columns: Sequence[str] | None = None,
    false_alarms: float = FALSE_ALARMS,
    effect: float = EFFECT,
    joint: bool = False,
) -> DriftReport:
    """Compare two tables column by column, and all columns together if asked.

    A column has drifted when there is evidence of it, over all columns together, and when the
    change is large enough. Where nothing has moved, the probability that any column is called
    drifted is ``false_alarms`` at most, whatever the numbers of rows and columns are.

    A table is a frame of pandas, Polars, Arrow or DuckDB, a dict of arrays by name, an array of
    shape (rows, columns), or a path, folder or glob of CSV or Parquet files. Counts of a
    reference that were made before (``treadle.data.table_counts.reference_of``) are taken as well,
    and beside them counts of the current rows over the same bins, which merge by addition.

    Args:
        reference: The table that is compared with, such as the training data, or its counts.
        current: The table that may have drifted, or its counts over the reference's bins.
        columns: Names of the columns to compare; None for all that both have.
        false_alarms: The probability of any false alarm, above 0 and below 1.
        effect: The smallest population stability index, without what chance gives, that counts as
            drift. With 0 the evidence alone decides.
        joint: Whether the rows are compared as a whole, too: columns that have changed how they
            depend on each other, or embeddings. It takes half of ``false_alarms``, scikit-learn,
            and tables, not counts.

    Returns:
        What was found in every column. Missing values are a cell of their own.

    Raises:
        Invalid: One of the two is no table, has no rows, or lacks a column that was named.
        NotFound: There is no such file.
    """
    if not 0 < false_alarms < 1:
        raise Invalid(f"false_alarms is {false_alarms}. Give a probability above 0 and below 1.")
    pairs, skipped, rows = _counted(reference, current, columns)
    share = false_alarms / 2 if joint else false_alarms
    judged = judge(pairs, false_alarms=share, effect=effect)
    reports: dict[str, ColumnReport] = {
        name: column_report(pair, judged[name]) for name, pair in pairs.items()
    }
    together = _jointly(reference, current, list(pairs), share) if joint else None
    drifted = any(one.drifted for one in reports.values())
    return DriftReport(
        drifted=drifted or (together is not None and together.drifted),
        columns=reports,
        not_compared=skipped,
        reference_rows=rows[0],
        current_rows=rows[1],
        false_alarms=false_alarms,
        effect=effect,
        joint=together,
    )


def _jointly(reference: Any, current: Any, names: Sequence[str], false_alarms: float) -> JointDrift:
    if profiles_in(reference) is not None or profiles_in(current) is not None:
        raise Invalid(
            "Counts tell nothing of columns together. Give both tables, or leave 'joint'."
        )
    with (
        open_source(reference, "reference") as first,
        open_source(current, "current table") as second,
    ):
        return joint_drift(first, second, names, false_alarms=false_alarms)


def _counted(
    reference: Any, current: Any, columns: Sequence[str] | None
) -> tuple[dict[str, Pair], Skipped, tuple[int, int]]:
    """Both samples' counts by column, why columns are missing there, and the rows of both."""
    before = profiles_in(reference)
    if before is None:
        if profiles_in(current) is not None:
            raise Invalid(
                "The current rows are counts and the reference is a table: the counts are over "
                "other bins than it would get. Give the reference's counts, too."
            )
        return _count_tables(reference, current, columns)
    now = profiles_in(current)
    refused: Skipped = {}
    if now is None:
        chosen = before if columns is None else {n: before[n] for n in columns if n in before}
        now, refused = count_each(current, chosen)
    names, skipped = _shared(list(before), [*now, *refused], columns)
    skipped |= refused
    names = [name for name in names if name not in refused]
    pairs: dict[str, Pair] = {}
    for name in names:
        try:
            pairs[name] = pair_of_profiles(before[name], now[name])
        except Invalid as error:
            skipped[name] = error.message
    rows = tuple(max((one.rows for one in side.values()), default=0) for side in (before, now))
    return pairs, skipped, (rows[0], rows[1])


def _count_tables(
    reference: Any, current: Any, columns: Sequence[str] | None
) -> tuple[dict[str, Pair], Skipped, tuple[int, int]]:
    with ExitStack() as stack:
        first = stack.enter_context(open_source(reference, "reference"))
        second = stack.enter_context(open_source(current, "current table"))
        for source, what in ((first, "reference"), (second, "current table")):
            if not source.rows:
                raise Invalid(f"The {what} has no rows, so nothing can be compared. {_ROWS}")
        names, skipped = _shared(first.names, second.names, columns)
        pairs: dict[str, Pair] = {}
        for name, found in zip(names, _pairs(first, second, names), strict=True):
            if isinstance(found, Invalid):
                skipped[name] = found.message
            else:
                pairs[name] = found
    return pairs, skipped, (first.rows, second.rows)


def _pairs(first: Source, second: Source, names: Sequence[str]) -> Iterator[Pair | Invalid]:
    """Each column's counts, or why it cannot be compared; several columns at a time in memory."""
    places = [{name: place for place, name in enumerate(one.names)} for one in (first, second)]

    def pair(name: str) -> Pair | Invalid:
        sides = first.column(places[0][name], None), second.column(places[1][name], None)
        try:
            return count_pair(*sides)
        except Invalid as error:
            return error

    if not (first.is_parallel and second.is_parallel):
        yield from map(pair, names)
        return
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool:
        yield from pool.map(pair, names)


def _shared(
    first: list[str], second: list[str], columns: Sequence[str] | None
) -> tuple[list[str], Skipped]:
    """The columns that both tables have, and which only one of them has."""
    for name in columns or ():
        for names, what in ((first, "reference"), (second, "current table")):
            if name not in names:
                near = did_you_mean(name, names)
                raise Invalid(f"The {what} has no column '{name}'.{near}")
    wanted = list(first) if columns is None else list(dict.fromkeys(columns))
    known = set(second)
    skipped: Skipped = {}
    if columns is None:
        skipped = {name: "only the reference has it" for name in first if name not in known}
        known_before = set(first)
        skipped |= {
            name: "only the current table has it" for name in second if name not in known_before
        }
    shared = [name for name in wanted if name in known]
    if not shared:
        raise Invalid(
            "The reference and the current table have no column in common. Rename the columns of "
            "one of them."
        )
    return shared, skipped


_THREADS = 4
_ROWS = "Give a table with at least one row."
