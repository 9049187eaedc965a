"""Proposes checks from the profile of a good version, and writes checks as TOML."""

import math
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from treadle.data.opened_table import LONGEST_CELL
from treadle.data.table_profile import TableColumn, TableProfile
from treadle.kernel.escaping import toml
from treadle.scope.data_checks import DataCheck

SLACK = 0.1
"""Share of a column's range by which the proposed range is wider on each side."""
MISSING_SLACK = 0.01
ROWS_PER_VALUE = 10
"""Rows for each value from which a column's values are taken for all that there are."""


def infer_checks(profile: TableProfile) -> list[DataCheck]:
    """Propose checks that a good version passes with slack.

    Args:
        profile: What the good version holds.

    Returns:
        Number of rows, types, missing values and uniqueness, which refuse a version; and ranges and
            allowed values, which set rows aside.
    """
    checks = [DataCheck(rows_min=profile.rows // 2, rows_max=max(1, profile.rows * 10))]
    for column in profile.columns:
        if column.name and profile.rows:
            checks += _of_column(column, profile.rows)
    return checks


def checks_toml(dataset: str, checks: Iterable[DataCheck]) -> str:
    """Write checks as they stand in ``treadle.toml``.

    Args:
        dataset: Name of the dataset.
        checks: The checks.

    Raises:
        Invalid: A text holds half a surrogate pair.
    """
    tables = []
    for check in checks:
        lines = [f"{name} = {_value(value)}" for name, value in _given(check)]
        tables.append("\n".join([f"[[data.{_key(dataset)}.checks]]", *lines]))
    return "\n\n".join(tables) + "\n"


def _given(check: DataCheck) -> Iterator[tuple[str, Any]]:
    """The fields of a check that are not their defaults, in the order of its type."""
    plain = DataCheck()
    for name in check.__struct_fields__:
        value = getattr(check, name)
        default = getattr(plain, name)
        if value != default or type(value) is not type(default):
            yield name, value


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return toml(value) if isinstance(value, str) else repr(value)


def _of_column(column: TableColumn, rows: int) -> Iterator[DataCheck]:
    if column.missing == rows:
        yield DataCheck(column=column.name)
        return
    is_measured = column.type in ("FLOAT", "DOUBLE") or column.kind == "time"
    names_rows = column.unique is True and rows > 1 and not (column.missing or is_measured)
    share = column.missing / rows
    yield DataCheck(
        column=column.name,
        type=column.kind,
        missing_max=0.0 if names_rows else round(min(1.0, share * 1.5 + MISSING_SLACK), 4),
        unique=names_rows,
    )
    if names_rows:
        return
    values = _all_values(column, rows)
    if values and column.kind != "number":
        yield DataCheck(column=column.name, values=values, severity="quarantine")
    elif column.kind == "number" and column.histogram is not None and not column.not_finite:
        low, high = _range(column.histogram.low, column.histogram.high)
        yield DataCheck(column=column.name, min=low, max=high, severity="quarantine")


def _all_values(column: TableColumn, rows: int) -> list[Any]:
    """A column's values where there are few, each of them often enough; else none."""
    values = [one.value for one in column.top]
    present = rows - column.missing - column.not_finite
    is_complete = sum(one.rows for one in column.top) == present
    is_cut = any(isinstance(value, str) and len(value) >= LONGEST_CELL for value in values)
    are_enough = present >= ROWS_PER_VALUE * len(values)
    return sorted(values, key=str) if is_complete and are_enough and not is_cut else []


def _range(low: float, high: float) -> tuple[int | float, int | float]:
    """A wider range of round numbers; what is never negative stays so."""
    slack = SLACK * (high - low) or SLACK * abs(high) or 1.0
    least, most = _rounded(low - slack, math.floor), _rounded(high + slack, math.ceil)
    if low >= 0:
        least = max(0, least)
    if high <= 0:
        most = min(0, most)
    return least, most


def _rounded(value: float, outwards: Any) -> int | float:
    """A number of three digits, rounded away from the range."""
    if not value or not math.isfinite(value):
        return 0 if not value else math.copysign(sys.float_info.max, value)
    size = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    rounded = outwards(value / size) * size if size else value
    if not math.isfinite(rounded):
        return math.copysign(sys.float_info.max, value)
    whole = round(rounded)
    near = float(f"{rounded:.12g}")
    return whole if abs(value) >= 1 and near == whole and abs(whole) < 2**53 else near
