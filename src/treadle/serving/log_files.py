"""Reads the inference logs of all endpoints by period, and keeps past days as Parquet."""

import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from treadle.data.engine import query_engine
from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.escaping import one_file
from treadle.serving.inference_log import SUFFIX, LogTail, days, files
from treadle.serving.log_batch import BATCH, LogBatch, LogRow, records
from treadle.serving.log_days import DAY_SUFFIX, read_day, sources_of, write_day

_LOAD_BY_MINUTE = (
    "SELECT epoch_us(asked_at) // 60_000_000 AS minute, sum(micros) / 1e6, count(*) "
    "FROM read_parquet(?) "
    "WHERE role NOT IN ('shadow', 'batch') AND request NOT LIKE '%#%' "
    "AND epoch_us(asked_at) >= ? AND epoch_us(asked_at) < ? GROUP BY minute"
)


class HourlyLoad(NamedTuple):
    """The load of an hour's busier minutes: its 95th percentile over the minutes.

    Attributes:
        hour: The begin of the hour.
        concurrency: Requests in hand.
        per_second: Requests a second.
    """

    hour: datetime
    concurrency: float
    per_second: float


class InferenceLogs:
    """The inference logs of all endpoints, below `ROOT/ENDPOINT/log`.

    A day is a folder of records, and later one Parquet file.

    Args:
        root: The folder of all endpoints.

    Attributes:
        root: The folder of all endpoints.
        restore: Called with an endpoint, a first and a last day, to bring back the files of these
            days that are kept elsewhere.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.restore: Callable[[str, date, date], None] = lambda *_: None

    def folder(self, endpoint: str) -> Path:
        """Return the folder of an endpoint's log.

        Args:
            endpoint: The endpoint's name.
        """
        return self.root / endpoint / "log"

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogBatch]:
        """Yield all batches of a period, day by day.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        first, last = to_micros(since), to_micros(until)
        if first >= last:
            return
        self.restore(endpoint, from_micros(first).date(), from_micros(last - 1).date())
        taken: set[str] = set()
        for day in days(self.folder(endpoint), since, until, DAY_SUFFIX):
            yield from read_day(day, first, last)
            # The day's records are being made into the file, or some came late.
            if day.with_suffix("").is_dir():
                taken |= set(sources_of(day))
        for file in files(self.folder(endpoint), since, until):
            if file.name not in taken:
                yield from (
                    batch
                    for batch, _ in records(file.read_bytes())
                    if first <= batch.facts.at < last
                )

    def rotate(self, endpoint: str, before: date) -> Iterator[tuple[str, Path, int]]:
        """Make days before a date into one Parquet file each; then remove their records.

        Nobody may write to those days any more, and no tail may read them. It may be stopped at
        any time, and repeated.

        Args:
            endpoint: The endpoint's name.
            before: The first day that stays as it is.

        Yields:
            Each day with its file and the number of its rows, before its records are removed.
        """
        folders = [
            path
            for path in self.folder(endpoint).glob("*")
            if path.is_dir() and path.name < before.isoformat()
        ]
        for day in sorted(folders):
            file = day.with_name(f"{day.name}{DAY_SUFFIX}")
            taken = sources_of(file) if file.exists() else []
            new = [log for log in sorted(day.glob(f"*{SUFFIX}")) if log.name not in taken]
            content = list(read_day(file, 0, 1 << 62)) if taken else []
            content += [batch for log in new for batch, _ in records(log.read_bytes())]
            rows = write_day(content, [*taken, *(log.name for log in new)], file)
            yield day.name, file, rows
            shutil.rmtree(day, ignore_errors=True)

    def read(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogRow]:
        """Yield all rows of a period, file by file.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        for batch in self.batches(endpoint, since, until):
            yield from batch.rows()

    def load(self, endpoint: str, since: datetime, until: datetime) -> list["HourlyLoad"]:
        """Return the load of a period's hours, without those that had no requests.

        Args:
            endpoint: The endpoint's name.
            since: The period's begin.
            until: The period's end, which does not belong to it.
        """
        by_minute: dict[int, tuple[float, int]] = {}  # request-seconds and requests

        def add(minute: int, seconds: float, requests: int) -> None:
            before = by_minute.get(minute, (0.0, 0))
            by_minute[minute] = before[0] + seconds, before[1] + requests

        first, last = to_micros(since), to_micros(until)
        rotated = {day.stem for day in days(self.folder(endpoint), since, until, DAY_SUFFIX)}
        for file in [self.folder(endpoint) / f"{day}{DAY_SUFFIX}" for day in sorted(rotated)]:
            with query_engine() as connection:
                loads = connection.execute(_LOAD_BY_MINUTE, [one_file(file), first, last])
                for load in loads.fetchall():
                    add(*load)
        for log in files(self.folder(endpoint), since, until):
            if log.parent.name in rotated:
                continue
            for batch, _ in records(log.read_bytes()):
                facts = batch.facts
                if first <= facts.at < last and facts.role not in ("shadow", BATCH):
                    add(facts.at // 60_000_000, sum(facts.micros) / 1e6, len(facts.ids))
        hours: dict[int, list[tuple[float, int]]] = {}
        for minute, minute_load in by_minute.items():
            hours.setdefault(minute // 60, []).append(minute_load)

        def busier(values: list[float]) -> float:
            return float(np.quantile([*values, *[0.0] * (60 - len(values))], 0.95)) / 60

        return [
            HourlyLoad(
                from_micros(hour * 3_600_000_000),
                busier([seconds for seconds, _ in minutes]),
                busier([requests for _, requests in minutes]),
            )
            for hour, minutes in sorted(hours.items())
        ]

    def tail(self, endpoint: str, since: datetime) -> LogTail:
        """Return a reader of what is appended to an endpoint's log.

        Args:
            endpoint: The endpoint's name.
            since: Batches from before this moment are passed over.
        """
        return LogTail(self.root / endpoint / "log", since)
