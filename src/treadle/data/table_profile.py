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
from typing import Any, NamedTuple

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

BINS = 20
TOP_VALUES = 10
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CORRELATED = 50
"""Number of numeric columns up to which each pair is correlated."""
EXACT_ROWS = 100_000
"""Number of rows up to which quantiles and numbers of distinct values are exact."""
EXACT_COLUMNS = 200
"""Number of columns up to which distinct values and repeats are counted."""
UNIQUE_ROWS = 5_000_000
"""Number of rows up to which it is counted whether values repeat."""
_AT_ONCE = 500  # columns that one query reads
_EXACT_AT_ONCE = 50  # the time of counting distinct values grows with the square of the columns
_ROUNDS = 20  # different columns with equal figures that others are compared with
_SAMPLED = 20_000  # rows that tell whether values of a column are frequent
_ALL_DIFFERENT = 0.9  # share of distinct values from which no value is frequent


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
    at_once = _EXACT_AT_ONCE if _is_small(table) else _AT_ONCE
    for start in range(0, len(table.columns), at_once):
        columns += _profiles(table, table.columns[start : start + at_once])
    columns = _with_duplicates(table, columns)
    correlations, notes = _correlations(table, columns)
    if not _counts_repeats(table):
        notes.append(
            "Repeats were not counted: the table has more than "
            f"{UNIQUE_ROWS:,} rows or {EXACT_COLUMNS} columns."
        )
    return TableProfile(rows=table.rows, columns=columns, correlations=correlations, notes=notes)


def _is_small(table: OpenTable) -> bool:
    """Whether all figures of a table are exact."""
    return table.rows <= EXACT_ROWS and len(table.columns) <= EXACT_COLUMNS


def _counts_repeats(table: OpenTable) -> bool:
    return table.rows <= UNIQUE_ROWS and len(table.columns) <= EXACT_COLUMNS


class _Figures(NamedTuple):
    """What the first scan tells of a column."""

    column: Column
    present: int
    finite: int
    distinct: int
    low: Any
    high: Any
    mean: Any
    std: Any
    quantiles: Any
    top: Any
    shortest: Any
    mean_length: Any
    longest: Any


def _value(column: Column) -> str:
    """What a column's figures are computed of, in SQL."""
    if column.kind == "time":
        return column.micros
    if column.kind == "text":
        return column.text
    if column.is_float:
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    return column.sql


def _first_scan(table: OpenTable, columns: Sequence[Column]) -> list[_Figures]:
    exact = _is_small(table)
    different = set() if table.rows <= EXACT_ROWS else _all_different(table, columns)
    shares = f"[{', '.join(map(str, QUANTILES))}]"
    expressions: list[str] = []
    for column in columns:
        v = f"v{column.place}"
        as_number = f"CAST({v} AS DOUBLE)"
        measured = column.kind in ("number", "boolean")
        ordered = column.kind in ("number", "time")
        expressions += [
            f"count({column.sql})",
            f"count({v})",
            f"count(DISTINCT {v})" if exact else f"approx_count_distinct({v})",
            f"min({v})" if ordered else "NULL",
            f"max({v})" if ordered else "NULL",
            f"avg({as_number})" if measured else "NULL",
            f"sqrt(var_pop({as_number}))" if column.kind == "number" else "NULL",
            f"{'quantile_cont' if exact else 'approx_quantile'}({as_number}, {shares})"
            if ordered
            else "NULL",
            "NULL" if column in different else f"approx_top_k({v}, {TOP_VALUES})",
            *(
                f"{function}(length({v}))" if column.kind == "text" else "NULL"
                for function in ("min", "avg", "max")
            ),
        ]
    row = table.one(f"SELECT {', '.join(expressions)} FROM ({_values(table, columns)})")
    size = len(_Figures._fields) - 1
    return [
        _Figures(column, *row[index * size : (index + 1) * size])
        for index, column in enumerate(columns)
    ]


def _all_different(table: OpenTable, columns: Sequence[Column]) -> set[Column]:
    """The columns whose first values are nearly all different: none of them is frequent."""
    counts = ", ".join(f"approx_count_distinct(v{one.place})" for one in columns)
    row = table.one(f"SELECT {counts} FROM ({_values(table, columns)} LIMIT {_SAMPLED})")
    return {
        column
        for column, count in zip(columns, row, strict=True)
        if count > _ALL_DIFFERENT * _SAMPLED
    }


def _values(table: OpenTable, columns: Sequence[Column]) -> str:
    """The columns and what their figures are computed of, in SQL."""
    read = ", ".join(f"{one.sql}, {_value(one)} AS v{one.place}" for one in columns)
    return f"SELECT {read} FROM {table.reading(columns)}"


class _Counted(NamedTuple):
    """What the second scan tells of a column."""

    bins: list[int] | None
    top: list[tuple[Any, int]]
    distinct: int | None


def _second_scan(table: OpenTable, figures: Sequence[_Figures]) -> list[_Counted]:
    """Count bins, frequent values and repeats, for which the first scan gives the bounds."""
    expressions: list[str] = []
    parameters: list[Any] = []
    for known in figures:
        v = f"v{known.column.place}"
        edges = _edges(known)
        if edges:
            inner = ", ".join(map(repr, edges))
            expressions.append(f"map_entries(histogram(CAST({v} AS DOUBLE), [{inner}]::DOUBLE[]))")
        else:
            expressions.append("NULL")
        if top := _frequent(known):
            expressions.append(f"map_entries(histogram_exact({v}, $p{len(parameters)}))")
            parameters.append(top)
        else:
            expressions.append("NULL")
        asks = not _is_small(table) and _may_be_unique(known) and _counts_repeats(table)
        expressions.append("true" if asks else "false")
    if all(one in ("NULL", "false", "true") for one in expressions):
        row: tuple[Any, ...] = tuple(None if one == "NULL" else one == "true" for one in expressions)
    else:
        columns = [known.column for known in figures]
        query = f"SELECT {', '.join(expressions)} FROM ({_values(table, columns)})"
        named = {f"p{index}": value for index, value in enumerate(parameters)}
        row = table.connection.execute(query, named).fetchall()[0]
    found = []
    for index, known in enumerate(figures):
        bins, top, asks = row[3 * index : 3 * index + 3]
        found.append(
            _Counted(
                _bin_counts(bins, len(_edges(known))),
                [(one["key"], one["value"]) for one in (top or [])[: len(_frequent(known))]],
                _distinct(table, known.column) if asks else None,
            )
        )
    return found


def _edges(known: _Figures) -> list[float]:
    """The upper edges of a column's bins; empty where it has no histogram."""
    if known.column.kind not in ("number", "time") or not known.finite:
        return []
    low, high = float(known.low), float(known.high)
    width = (high - low) / BINS
    if not (low < high and math.isfinite(width) and low + width > low):
        return []
    inner = [low + width * place for place in range(1, BINS)]
    return [*inner, high] if all(a < b for a, b in zip(inner, inner[1:], strict=False)) else []


def _bin_counts(entries: Any, bins: int) -> list[int] | None:
    if entries is None:
        return None
    counts = [int(one["value"]) for one in entries]
    return [*counts, *[0] * bins][:bins]


def _frequent(known: _Figures) -> list[Any]:
    """The values that are counted as the most frequent ones; none where nearly all differ."""
    if known.finite > TOP_VALUES and known.distinct > _ALL_DIFFERENT * known.finite:
        return []
    return [value for value in known.top or [] if value is not None]


def _may_be_unique(known: _Figures) -> bool:
    """Whether the estimate, which is a few per cent off, leaves it open.

    Measured numbers and times are not asked: they differ by chance, and name nothing.
    """
    names = known.column.kind == "text" or (
        known.column.kind == "number" and not known.column.is_float
    )
    return names and known.finite > 0 and known.distinct > 0.8 * known.finite


def _distinct(table: OpenTable, column: Column) -> int:
    (count,) = table.one(
        f"SELECT count(DISTINCT v) FROM (SELECT {_value(column)} AS v FROM {table.source})"
    )
    return int(count)


def _profiles(table: OpenTable, columns: Sequence[Column]) -> list[TableColumn]:
    figures = _first_scan(table, columns)
    counted = _second_scan(table, figures)
    return [_profile(table, *pair) for pair in zip(figures, counted, strict=True)]


def _profile(table: OpenTable, known: _Figures, counted: _Counted) -> TableColumn:
    column = known.column
    distinct = counted.distinct if counted.distinct is not None else min(known.distinct, known.finite)
    is_exact = _is_small(table) or counted.distinct is not None
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
        min=_plain(show(known.low)),
        max=_plain(show(known.high)),
        mean=number(known.mean),
        std=number(known.std),
        quantiles=_quantiles(known),
        histogram=_histogram(known, counted.bins),
        top=_top(column, counted.top),
        lengths=lengths,
        constant=distinct == 1 or any(rows == known.finite for _, rows in counted.top if rows),
        unique=unique,
    )


def _plain(value: Cell) -> int | float | str | None:
    return value


def _quantiles(known: _Figures) -> dict[str, int | float | str]:
    quantiles: dict[str, int | float | str] = {}
    for share, value in zip(QUANTILES, known.quantiles or [], strict=False):
        shown = moment(value) if known.column.kind == "time" else number(value)
        if shown is not None:
            quantiles[str(share)] = shown
    return quantiles


def _histogram(known: _Figures, counts: list[int] | None) -> Histogram | None:
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
        key += [str(column.distinct)] if _is_small(table) else []
        key += [str(column.lengths)] if column.kind == "text" else []
        groups.setdefault(tuple(key), []).append(place)
    made = list(columns)
    for alike in groups.values():
        rounds = 0
        while table.rows and len(alike) > 1 and rounds < _ROUNDS:
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
    read = ", ".join(f"CAST({_value(one)} AS DOUBLE) AS v{one.place}" for one in numeric)
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
        elif column.constant and profile.rows > 1:
            yield f"Column '{column.name}' has one value only."
        if column.same_as:
            yield f"Column '{column.name}' repeats column '{column.same_as}'."
