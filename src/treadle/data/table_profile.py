"""Profiles a table: what each column holds, in two scans of the file and little memory.

Counts, extremes, means and deviations are exact. The number of distinct values (HyperLogLog),
quantiles (t-digest) and the choice of the most frequent values (space-saving) are approximate in
tables of more than ``EXACT_ROWS`` rows or ``EXACT_COLUMNS`` columns; the counts of those values are
exact.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from treadle.data.column_scans import (
    EXACT_COLUMNS,
    QUANTILES,
    UNIQUE_ROWS,
    Counted,
    Figures,
    counts_repeats,
    first_scan,
    is_small,
    second_scan,
    value_of,
)
from treadle.data.opened_table import (
    LONGEST_CELL,
    Cell,
    Column,
    ColumnKind,
    OpenTable,
    cell,
    moment,
    number,
    open_table,
    reason,
)
from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import Invalid

CORRELATED = 50
"""Number of numeric columns up to which each pair is correlated."""
_AT_ONCE = 500  # columns that one query reads
_EXACT_AT_ONCE = 50  # the time of counting distinct values grows with the square of the columns
_ROUNDS_OF_WIDE = 2  # the same, of a table of many columns or rows
_ROUNDS = 20  # different columns with equal figures that others are compared with


class Histogram(Entity):
    """Counts of numbers in bins of equal width; of moments, in seconds since 1970.

    Attributes:
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.
        counts: Rows in each bin; one bin where all values are equal.
    """

    low: float
    high: float
    counts: list[int]


class ValueCount(Entity):
    """A value and the number of rows that hold it."""

    value: Cell
    rows: int


class Lengths(Entity):
    """Lengths of a column's texts, in characters."""

    min: int
    mean: float
    max: int


class TableColumn(Entity):
    """What one column of a table holds.

    Attributes:
        name: Name of the column.
        type: Type as DuckDB names it, such as ``BIGINT``.
        kind: ``number``, ``time``, ``boolean`` or ``text``; lists and other types count as text.
        missing: Rows without a value.
        not_finite: Rows with NaN or an infinity; other figures leave them out.
        distinct: Number of different values; approximate in a large table.
        min: Smallest value; a moment as ISO 8601 text.
        max: Largest value.
        mean: Mean; of a boolean the share of true.
        std: Standard deviation of the population.
        quantiles: Quantiles by their share, such as ``0.5``.
        histogram: Counts in bins of equal width, of numbers and times.
        top: Most frequent values first; empty where nearly all values are different.
        lengths: Lengths of texts.
        constant: Whether every row that has a value has the same one.
        unique: Whether no value repeats; None where it was not counted: of measured numbers and
            times in a large table, and of all columns in a very large one.
        same_as: Name of an earlier column with the same values in every row; empty for none.
    """

    name: str
    type: str
    kind: ColumnKind
    missing: int
    not_finite: int = 0
    distinct: int = 0
    min: int | float | str | None = None
    max: int | float | str | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: dict[str, int | float | str] = {}
    histogram: Histogram | None = None
    top: list[ValueCount] = []
    lengths: Lengths | None = None
    constant: bool = False
    unique: bool | None = None
    same_as: str = ""


class Correlation(Entity):
    """Pearson's correlation of two numeric columns over rows in which both have a value."""

    first: str
    second: str
    pearson: float


class TableProfile(Entity):
    """What a table holds.

    Attributes:
        rows: Number of rows.
        columns: What each column holds, in the columns' order.
        correlations: Each pair of numeric columns, strongest first.
        notes: What was not computed, and why.
    """

    rows: int
    columns: list[TableColumn]
    correlations: list[Correlation] = []
    notes: list[str] = []


def profile_table(file: Path) -> TableProfile:
    """Profile a table.

    Args:
        file: A CSV or Parquet file, or a folder of files of one of these kinds.

    Raises:
        NotFound: There is no such file or folder.
        Invalid: It cannot be read as a table.
    """
    import duckdb

    with open_table(file) as table:
        try:
            return profile_of(table)
        except duckdb.Error as error:
            raise Invalid(f"'{file.name}' cannot be profiled: {reason(error)}") from error


def profile_of(table: OpenTable) -> TableProfile:
    """Profile an open table.

    Args:
        table: The table.
    """
    columns: list[TableColumn] = []
    at_once = _EXACT_AT_ONCE if is_small(table) else _AT_ONCE
    for start in range(0, len(table.columns), at_once):
        columns += _profiles(table, table.columns[start : start + at_once])
    columns = _with_duplicates(table, columns)
    correlations, notes = _correlations(table, columns)
    if not counts_repeats(table):
        notes.append(
            "Repeats were not counted: the table has more than "
            f"{UNIQUE_ROWS:,} rows or {EXACT_COLUMNS} columns."
        )
    return TableProfile(rows=table.rows, columns=columns, correlations=correlations, notes=notes)


def _profiles(table: OpenTable, columns: Sequence[Column]) -> list[TableColumn]:
    figures = first_scan(table, columns)
    counted = second_scan(table, figures)
    return [_profile(table, *pair) for pair in zip(figures, counted, strict=True)]


def _profile(table: OpenTable, known: Figures, counted: Counted) -> TableColumn:
    column = known.column
    distinct = (
        counted.distinct if counted.distinct is not None else min(known.distinct, known.finite)
    )
    is_exact = is_small(table) or counted.distinct is not None
    show = moment if column.kind == "time" else cell
    unique: bool | None = distinct == known.finite > 0 if is_exact else None
    if not is_exact and known.distinct < 0.8 * known.finite:
        unique = False
    lengths = None
    if known.shortest is not None:
        lengths = Lengths(min=known.shortest, mean=known.mean_length, max=known.longest)
    return TableColumn(
        name=column.name,
        type=column.type,
        kind=column.kind,
        missing=table.rows - known.present,
        not_finite=known.present - known.finite,
        distinct=distinct,
        min=show(known.low),
        max=show(known.high),
        mean=number(known.mean),
        std=number(known.std),
        quantiles=_quantiles(known),
        histogram=_histogram(known, counted.bins),
        top=_top(column, counted.top),
        lengths=lengths,
        constant=distinct == 1 or any(rows == known.finite for _, rows in counted.top if rows),
        unique=unique,
    )


def _quantiles(known: Figures) -> dict[str, int | float | str]:
    quantiles: dict[str, int | float | str] = {}
    for share, value in zip(QUANTILES, known.quantiles or [], strict=False):
        shown = moment(value) if known.column.kind == "time" else number(value)
        if shown is not None:
            quantiles[str(share)] = shown
    return quantiles


def _histogram(known: Figures, counts: list[int] | None) -> Histogram | None:
    if known.column.kind not in ("number", "time") or not known.finite:
        return None
    scale = 1e6 if known.column.kind == "time" else 1.0
    low, high = float(known.low) / scale, float(known.high) / scale
    return Histogram(low=low, high=high, counts=counts or [known.finite])


def _top(column: Column, counted: Sequence[tuple[Any, int]]) -> list[ValueCount]:
    """The most frequent values; those that are equally frequent in the order of their texts."""
    shown = moment if column.kind == "time" else cell
    pairs = [(shown(value), rows) for value, rows in counted if rows]
    pairs.sort(key=lambda pair: (-pair[1], str(pair[0])))
    return [ValueCount(value=_shortened(value), rows=rows) for value, rows in pairs]


def _shortened(value: Cell) -> Cell:
    return value[:LONGEST_CELL] if isinstance(value, str) else value


def _with_duplicates(table: OpenTable, columns: list[TableColumn]) -> list[TableColumn]:
    """Name the earlier column that each repeats: those with equal figures are compared by row."""
    groups: dict[Any, list[int]] = {}
    for place, column in enumerate(columns):
        key = [column.type, column.missing, column.not_finite, str(column.min), str(column.max)]
        key += [str(column.distinct)] if is_small(table) else []
        key += [str(column.lengths)] if column.kind == "text" else []
        key += [str(column.top)] if column.constant else []
        groups.setdefault(tuple(key), []).append(place)
    most = _ROUNDS if counts_repeats(table) else _ROUNDS_OF_WIDE
    made = list(columns)
    for alike in groups.values():
        rounds = 0
        while table.rows and len(alike) > 1 and rounds < most:
            first, *others = alike
            equal = _equal_to(table, first, others)
            for place in equal:
                made[place] = replace(columns[place], same_as=columns[first].name)
            alike = [place for place in others if place not in equal]
            rounds += 1
    return made


def _equal_to(table: OpenTable, first: int, others: list[int]) -> set[int]:
    """The columns that equal another one in each row."""
    equal: set[int] = set()
    for start in range(0, len(others), _AT_ONCE):
        tried = others[start : start + _AT_ONCE]
        asked = ", ".join(f"bool_and(c{one} IS NOT DISTINCT FROM c{first})" for one in tried)
        source = table.reading([table.columns[one] for one in (first, *tried)])
        row = table.one(f"SELECT {asked} FROM {source}")
        equal |= {one for one, same in zip(tried, row, strict=True) if same}
    return equal


def _correlations(
    table: OpenTable, columns: Sequence[TableColumn]
) -> tuple[list[Correlation], list[str]]:
    numeric = [
        one
        for one, column in zip(table.columns, columns, strict=True)
        if column.kind == "number" and not column.constant and column.distinct
    ]
    if len(numeric) > CORRELATED:
        return [], [
            f"Correlations were not computed: {len(numeric):,} numeric columns are more than "
            f"{CORRELATED}."
        ]
    pairs = list(combinations(numeric, 2))
    if not pairs:
        return [], []
    asked = ", ".join(f"corr(v{a.place}, v{b.place})" for a, b in pairs)
    read = ", ".join(f"CAST({value_of(one)} AS DOUBLE) AS v{one.place}" for one in numeric)
    row = table.one(f"SELECT {asked} FROM (SELECT {read} FROM {table.source})")
    found = [
        Correlation(first=a.name, second=b.name, pearson=float(value))
        for (a, b), value in zip(pairs, row, strict=True)
        if value is not None and math.isfinite(value)
    ]
    return sorted(found, key=lambda one: -abs(one.pearson)), []


def named_oddities(profile: TableProfile) -> Iterator[str]:
    """Say which columns carry nothing: constant ones, empty ones, and copies of others.

    Args:
        profile: The profile.
    """
    if profile.rows == 1:
        yield "The table has one row."
    for column in profile.columns:
        if column.missing == profile.rows and profile.rows:
            yield f"Column '{column.name}' is empty."
        elif column.missing == profile.rows - 1 and profile.rows > 1:
            yield f"Column '{column.name}' has a value in one row only."
        elif column.constant and profile.rows > 1:
            yield f"Column '{column.name}' has one value only."
        if column.same_as:
            yield f"Column '{column.name}' repeats column '{column.same_as}'."
