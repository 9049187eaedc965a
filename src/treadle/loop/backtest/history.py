"""The past as a backtest replays it: rows by their time, each with when its label was known."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import duration
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.scope.model import DataSource, Keep

Moments = NDArray[np.datetime64]


class Timeline(NamedTuple):
    """When each row happened, and when its label became known; both ascending in the first.

    Attributes:
        times: When each row happened (rows,), datetime64[us] in UTC.
        known: When its label was known (rows,); NaT where it never was.
    """

    times: Moments
    known: Moments

    @property
    def start(self) -> datetime:
        """The first row's moment."""
        return moment_of(self.times[0])

    @property
    def end(self) -> datetime:
        """The moment after the last row's."""
        return moment_of(self.times[-1]) + timedelta(microseconds=1)

    def rows(self, start: datetime, end: datetime) -> tuple[int, int]:
        """Numbers of the first row of a span and of the one after its last.

        Args:
            start: The span's first moment.
            end: The moment after its last.
        """
        bounds = np.searchsorted(self.times, [naive(start), naive(end)])
        return int(bounds[0]), int(bounds[1])

    def learnt(self, at: datetime, kept: Keep) -> NDArray[np.intp]:
        """Numbers of the rows (rows,) that a training could have learnt from.

        Args:
            at: When it starts: labels that came later are not known to it.
            kept: Which of those rows are learnt from.
        """
        rows = np.flatnonzero(self.known <= naive(at))
        if kept.span is not None:
            rows = rows[self.times[rows] >= naive(at - kept.span)]
        return rows[-kept.rows :] if kept.rows else rows


def timeline(table: Any, source: DataSource) -> tuple[NDArray[np.intp], Timeline]:
    """Put the rows of a table into the order of their time.

    Args:
        table: Columns by name, such as a pandas frame.
        source: What ``treadle.toml`` says of the dataset: its time, its label, and the label's time
            or delay.

    Returns:
        The order (rows,), and the moments in that order.

    Raises:
        Invalid: No time is declared, or the table lacks a column or has no row.
    """
    if source.time is None:
        found = [str(name) for name in table.columns if _holds_moments(table, name)]
        hint = f" Columns with moments: {', '.join(found)}." if found else ""
        raise Invalid(
            f"A replay needs the time of each row. Name its column in treadle.toml: "
            f'time = "COLUMN", in the table of {source.source}.{hint}'
        )
    times = _moments(table, source.time)
    if np.isnat(times).any() or not len(times):
        bad = int(np.isnat(times).sum())
        raise Invalid(
            f"{bad} of {len(times)} rows have no moment in the column '{source.time}'; "
            "a replay needs one of each row."
        )
    known = times + np.timedelta64(duration(source.label_delay))
    if source.label_time is not None:
        told = _moments(table, source.label_time)
        known = np.where(np.isnat(told), known, told)
    if source.label is not None:
        labels = np.asarray(table[source.label], dtype=object)
        missing = np.array([value is None or value != value for value in labels.tolist()])
        known[missing] = np.datetime64("NaT")
    order = np.argsort(times, kind="stable")
    return order, Timeline(times[order], known[order])


def naive(moment: datetime) -> np.datetime64:
    """A moment as numpy takes it: UTC without a zone.

    Args:
        moment: An aware moment.
    """
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")


def moment_of(value: np.datetime64) -> datetime:
    """A moment of numpy's, aware.

    Args:
        value: datetime64[us] in UTC.
    """
    moment: datetime = value.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)


def _moments(table: Any, name: str) -> Moments:
    """A column as datetime64[us] (rows,); what is no moment is NaT."""
    columns = [str(column) for column in table.columns]
    if name not in columns:
        raise Invalid(
            f"The table that the model learns from has no column '{name}'."
            f"{did_you_mean(name, columns)} It has: {', '.join(columns)}."
        )
    values = np.asarray(table[name])
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    return np.array([_moment(value) for value in values.tolist()], dtype="datetime64[us]")


def _holds_moments(table: Any, name: Any) -> bool:
    """Whether the first value of a column is a moment and no number."""
    first = np.asarray(table[name][:1]).tolist()
    return bool(first) and not isinstance(first[0], int | float) and not np.isnat(_moment(first[0]))


def _moment(value: object) -> np.datetime64:
    """A text, a number of seconds since 1970 or a datetime as a moment; NaT for anything else."""
    if isinstance(value, datetime):
        return naive(value if value.tzinfo else value.replace(tzinfo=UTC))
    try:
        if isinstance(value, str):
            parsed = datetime.fromisoformat(value)
            return naive(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
        if isinstance(value, int | float):
            return np.datetime64(round(value * 1e6), "us")
    except (ValueError, OverflowError):
        pass
    return np.datetime64("NaT", "us")
