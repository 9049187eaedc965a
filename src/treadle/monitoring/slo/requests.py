"""Counts good requests by the minute from inference logs, each record once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import from_micros, to_micros
from treadle.monitoring.slo.burn_rates import Counts
from treadle.monitoring.slo.ledger import MINUTE
from treadle.scope.model import Requirement
from treadle.serving.inference_log import days, files
from treadle.serving.log_batch import BATCH, LogBatch, records
from treadle.serving.log_days import DAY_SUFFIX, read_day, sources_of

Places = dict[str, int]
"""File of records, as ``DATE/NAME``, → the position up to which its records were counted."""
_MINUTE_MICROS = MINUTE // timedelta(microseconds=1)


class Requests(NamedTuple):
    """What callers got, one entry a request.

    Attributes:
        minutes: Minutes since 1970 in which they were answered, (requests,).
        micros: How long they took in microseconds, (requests,).
        failed: Whether the server answered with an error, (requests,).
    """

    minutes: NDArray[np.int64]
    micros: NDArray[np.int64]
    failed: NDArray[np.bool_]


def requests_of(batch: LogBatch) -> Requests:
    """The requests of a batch that callers got an answer to.

    A request of several rows failed where one of them did. Shadows answer nobody, nobody waits for
    the rows of a file, and what a candidate fails the champion answers.

    Args:
        batch: The batch.
    """
    facts = batch.facts
    if batch.moments is None:
        rows = np.cumsum([0, *facts.counts[:-1]]) if facts.counts else np.arange(len(facts.ids))
        micros = np.array(facts.micros, dtype=np.int64)
    else:  # a day's file has an entry a row, and the rows of a request follow each other
        further = [_is_further_row(id) for id in facts.ids]
        rows = np.flatnonzero(~np.array(further, dtype=bool))
        micros = np.array(facts.micros, dtype=np.int64)[rows]
    failed = np.zeros(len(rows), dtype=bool)
    requests_that_failed = np.searchsorted(rows, list(facts.errors), side="right") - 1
    failed[requests_that_failed[requests_that_failed >= 0]] = True
    answered = np.full(len(rows), facts.role not in ("shadow", BATCH))
    if facts.role != "champion":
        answered &= ~failed
    minutes = batch.row_moments[rows] // _MINUTE_MICROS
    return Requests(minutes[answered], micros[answered], failed[answered])


def _is_further_row(id: str) -> bool:
    """Whether a row of a day's file is a further row of its request, such as ``abc#2``."""
    request, sign, number = id.rpartition("#")
    return bool(request and sign) and number.isdigit()


class Counter:
    """Counts the requests of one endpoint by the minute, for each condition.

    Args:
        requirements: Requirements on single requests.
    """

    def __init__(self, requirements: Iterable[Requirement]) -> None:
        self._bounds = {each.condition: each for each in requirements}
        self._counts: dict[str, dict[int, list[int]]] = {name: {} for name in self._bounds}

    def add(self, batch: LogBatch) -> None:
        """Count a batch.

        Args:
            batch: The batch.
        """
        requests = requests_of(batch)
        if not len(requests.minutes):
            return
        minutes, places = np.unique(requests.minutes, return_inverse=True)
        totals = np.bincount(places).tolist()
        for condition, requirement in self._bounds.items():
            is_good = _meets(requests, requirement)
            good = np.bincount(places, weights=is_good, minlength=len(minutes)).tolist()
            for minute, n_good, total in zip(minutes.tolist(), good, totals, strict=True):
                counts = self._counts[condition].setdefault(minute, [0, 0])
                counts[0] += int(n_good)
                counts[1] += total

    def counted(self) -> dict[str, dict[datetime, Counts]]:
        """Condition → end of a minute → its events; conditions without events are left out."""
        return {
            condition: {
                from_micros((minute + 1) * _MINUTE_MICROS): Counts(*counts)
                for minute, counts in by_minute.items()
            }
            for condition, by_minute in self._counts.items()
            if by_minute
        }


def _meets(requests: Requests, requirement: Requirement) -> NDArray[np.bool_]:
    """Whether each request was good: a failed one never is."""
    if requirement.metric == "availability":
        return ~requests.failed
    milliseconds = requests.micros / 1000
    if requirement.at_most is not None:
        return np.asarray(~requests.failed & (milliseconds <= requirement.at_most))
    return np.asarray(~requests.failed & (milliseconds >= (requirement.at_least or 0.0)))


def unread(folder: Path, since: datetime, places: Places) -> Iterator[LogBatch]:
    """Yield what was appended to a log since it was last read, and move the places on.

    A record that is not whole yet is read when it is. Places of files that are gone are removed.

    Args:
        folder: Folder of the log.
        since: Files of days before it are passed over.
        places: How far each file was read; changed.
    """
    present = {f"{file.parent.name}/{file.name}": file for file in files(folder, since, None)}
    for name in places.keys() - present.keys():
        del places[name]
    for name, file in present.items():
        start = places.get(name, 0)
        if file.stat().st_size == start:
            continue
        with file.open("rb") as handle:
            handle.seek(start)
            content = handle.read()
        end = 0
        for batch, end in records(content):  # noqa: B007 - where the last whole record ended
            yield batch
        places[name] = start + end


def past(
    folder: Path,
    since: datetime,
    until: datetime,
    places: Mapping[str, int],
    restore: Callable[[], None],
) -> Iterator[LogBatch]:
    """Yield what is behind the places of a log already, for what is counted from now on.

    Args:
        folder: Folder of the log.
        since: First moment that is read.
        until: The present time.
        places: How far each file of records was read.
        restore: Brings back days that are kept elsewhere.
    """
    restore()
    first = to_micros(since)
    taken: set[str] = set()
    for day in days(folder, since, until, DAY_SUFFIX):
        taken |= {f"{day.stem}/{name}" for name in sources_of(day)}
        yield from read_day(day, first, 1 << 62)
    for name, end in places.items():
        file = folder / name
        if name not in taken and file.exists():
            for batch, _ in records(file.read_bytes()[:end]):
                if batch.facts.at >= first:
                    yield batch
