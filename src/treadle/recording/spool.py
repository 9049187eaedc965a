"""The spool: files that hold what runs have logged until it is sent, however their process ends.

A writer is one process of a run. Its folder holds:

- ``facts.jsonl``: what happens rarely, a line each;
- ``points-N``: metrics, mapped into memory as 65,536 records of 32 bytes, whose last field is
  written last;
- ``files/``: copies of attached files;
- ``series/``: packed pieces of series;
- ``sent.json``: how far the folder is sent.

Before each attempt the sender stores in ``sent.json`` what the attempt holds. An attempt that is
repeated therefore has the same content and the same number, and counts once.
"""

import logging
import mmap
import os
import shutil
import struct
import threading
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.process import hold, is_held, release
from treadle.ports.blobs import digest_of
from treadle.tracking.limits import check_key
from treadle.tracking.model import Dataset, Status
from treadle.tracking.segments import Points, joined, split, unpack

log = logging.getLogger(__name__)

RECORDS = 1 << 16
"""Records in one file of points."""
_SIZE = 32
LARGEST_PARCEL = 8 << 20
"""Bytes of facts and packed pieces after which no more go into a parcel."""
_LIVE_PAGES = 16
"""Files of points that stay mapped.

A thread that is interrupted within a record for longer than that writes the record again.
"""
WHOLE, BROKEN, VOID = 1, 2, 3
"""Kinds of record, in its last field: the step is whole, or has a fraction, or nothing was logged.

0 is a record that is not written yet.
"""
_RECORD = np.dtype(
    [("step", "<i8"), ("at", "<i8"), ("value", "<f8"), ("key", "<u4"), ("kind", "<u4")]
)
pack_whole = struct.Struct("<qqdII").pack_into
_pack_broken = struct.Struct("<dqdII").pack_into


class Begin(Entity):
    """How a run begins.

    Attributes:
        experiment: Name of the experiment.
        project: Name of the project, or ''.
        name: Name of the run, or ''.
        user: Who started the run.
        started_at: Time at which the run started.
    """

    experiment: str
    project: str
    name: str
    user: str
    started_at: datetime


class KeptFile(Entity):
    """An attached file.

    Attributes:
        path: Path among the run's artifacts.
        copy: Name of the copy in ``files/``.
        bytes: Size in bytes.
    """

    path: str
    copy: str
    bytes: int


class KeptTree(Entity):
    """An attached folder that is one artifact.

    Attributes:
        path: Path among the run's artifacts.
        files: Name of the copy in ``files/``, by path within the folder.
    """

    path: str
    files: dict[str, str]


class KeptSeries(Entity):
    """A packed piece of a metric's series.

    Attributes:
        key: Name of the metric.
        piece: Name of the piece in ``series/``.
    """

    key: str
    piece: str


class UsedData(Entity):
    """Data that the run has read.

    Attributes:
        dataset: Name, digest and source of the data.
        source: Path of the file or folder whose content is to be stored, or ''.
    """

    dataset: Dataset
    source: str = ""


class End(Entity):
    """How a run ends.

    Attributes:
        status: How the run ended.
        ended_at: Time at which the run ended.
    """

    status: Status
    ended_at: datetime


class Line(Entity):
    """One line of ``facts.jsonl``: what was added at once.

    Attributes:
        begin: The start of the run.
        keys: Metrics that are used for the first time; each gets the next number.
        params: Parameters that were set.
        tags: Tags that were set.
        series: A piece of a series.
        file: An attached file.
        tree: An attached folder.
        data: Data that the run has read.
        end: The end of the run.
    """

    begin: Begin | None = None
    keys: list[str] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    series: KeptSeries | None = None
    file: KeptFile | None = None
    tree: KeptTree | None = None
    data: UsedData | None = None
    end: End | None = None


class Writer:
    """The part of a run that one process writes. Its methods may be called from any thread.

    Args:
        folder: Folder of this process in the spool.

    Attributes:
        folder: Folder of this process in the spool.
        places: Counts the places of records, over all files of points.
        pages: Mapped files of points; None for those that are no longer needed.
        keys: Numbers of metrics by name.
        lost: How many points could not be written.

    Raises:
        Conflict: Another process writes to the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "series").mkdir(exist_ok=True)
        self._lock = threading.RLock()
        self._held = hold(folder / "writing", what=f"The spool '{folder}'")
        self._facts = os.open(folder / "facts.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._copies = count()
        self.places = count()
        self.pages: list[Any] = []  # mmaps; None where one is not needed any more
        self.keys: dict[str, int] = {}
        self.lost = 0

    def add(self, line: Line) -> None:
        """Write a line; the operating system has it when this returns.

        Args:
            line: The line.

        Raises:
            Conflict: The writer is closed.
        """
        with self._lock:
            if self._facts < 0:  # its number may be another file's by now
                raise Conflict(f"The spool '{self.folder}' is closed; nothing can be added.")
            os.write(self._facts, to_json(line) + b"\n")

    def number(self, key: str) -> int:
        """The number of a metric, given at its first use.

        Args:
            key: Name of the metric.

        Raises:
            Invalid: The name is malformed.
            Conflict: The metric is new and the writer is closed.
        """
        check_key("Metric", key)
        with self._lock:
            if key not in self.keys:
                self.add(Line(keys=[key]))
                self.keys = {**self.keys, key: len(self.keys)}
        return self.keys[key]

    def record(self, place: int, key: str, value: Any, step: Any, at: int) -> None:
        """Write one point; a point that cannot be stored is counted as lost.

        Args:
            place: Place of the record, taken from ``places``.
            key: Name of the metric.
            value: Value of the metric.
            step: Step, whole or with a fraction.
            at: Time in microseconds since 1970.

        Raises:
            Invalid: The value or the step is not a number, or the metric's name is malformed.
        """
        page = self._page(place >> 16)
        if page is None:
            self.lost += 1
            return
        offset = (place & (RECORDS - 1)) * _SIZE
        try:
            number = self.number(key)
            value = float(value)
            try:
                pack_whole(page, offset, step, at, value, number, WHOLE)
            except (struct.error, TypeError):
                split(step if isinstance(step, int) else float(step))
                _pack_broken(page, offset, float(step), at, value, number, BROKEN)
        except (struct.error, TypeError, ValueError, OverflowError, Invalid) as error:
            pack_whole(page, offset, 0, 0, 0.0, 0, VOID)
            raise Invalid(
                f"Metric '{key}' was not logged: {value!r} at step {step!r} is no point. {error}"
            ) from error

    def copy(self, source: Path | bytes) -> str:
        """Store a copy of a file, or bytes.

        Args:
            source: Path of the file, or the bytes.

        Returns:
            The name of the copy in ``files/``.
        """
        name = str(next(self._copies))
        target = self.folder / "files" / name
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)
        return name

    def piece(self, content: bytes) -> str:
        """Store a packed piece of a series.

        Args:
            content: The packed points.

        Returns:
            The name of the piece in ``series/``.
        """
        name = str(next(self._copies))
        (self.folder / "series" / name).write_bytes(content)
        return name

    def close(self) -> None:
        """Stop writing. In a forked child this releases what belongs to the parent."""
        self.pages = []
        with self._lock:
            facts, self._facts = self._facts, -1
        os.close(facts)
        release(self._held)

    def _page(self, number: int) -> mmap.mmap | None:
        """A file of points, made when its first record is written; None when it cannot be made."""
        with self._lock:
            if self._facts < 0:
                return None
            try:
                while len(self.pages) <= number:
                    self.pages.append(_mapped(self.folder / f"points-{len(self.pages)}"))
                    if len(self.pages) > _LIVE_PAGES:
                        self.pages[-_LIVE_PAGES - 1] = None
            except OSError as error:
                if not self.lost:
                    warning = "Points of run %s are lost, for they cannot be kept: %s"
                    log.warning(warning, self.folder.name, error)
                return None
            page: mmap.mmap | None = self.pages[number]
            return page


def _mapped(file: Path) -> mmap.mmap:
    with file.open("w+b") as handle:
        # Zeros are written, so that a full disk is an error here and no signal later.
        handle.write(bytes(RECORDS * _SIZE))
        handle.flush()
        return mmap.mmap(handle.fileno(), RECORDS * _SIZE)


class Extent(Entity):
    """How far a folder is read.

    Attributes:
        facts: Bytes of ``facts.jsonl``.
        records: Number of records, over all files of points.
    """

    facts: int = 0
    records: int = 0


class Sent(Entity):
    """How far a folder is sent.

    Attributes:
        until: How far everything is delivered.
        number: Number of the last delivered parcel.
        attempt: End of the parcel that is being sent; it stays until the parcel is delivered.
        refused: Why some things were refused for good.
    """

    until: Extent = Extent()
    number: int = 0
    attempt: Extent | None = None
    refused: list[str] = []


class Parcel(NamedTuple):
    """What is sent at once.

    Attributes:
        number: Number of the parcel within its folder, from 1.
        lines: Lines of facts.
        points: Points by metric.
    """

    number: int
    lines: list[Line]
    points: dict[str, Points]


class Outbox:
    """The reading side of a writer's folder. Only one process may have it open at a time.

    Args:
        folder: Folder of one process in the spool.

    Attributes:
        folder: Folder of one process in the spool.
        sent: How far the folder is sent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "sent.json"
        self.sent = from_json(self._file.read_bytes(), Sent) if self._file.exists() else Sent()
        self._keys: list[str] = []
        self._lines: list[tuple[int, Line]] = []  # with the offset in the file where each ends
        self._read = 0

    @property
    def stream(self) -> str:
        """Name under which parcels are numbered, different for each folder: 32 hex digits."""
        return digest_of(self.folder.name.encode())[:32]

    def next(self) -> Parcel | None:
        """The parcel to send now, the same until ``done``; None when there is nothing to send."""
        over = not is_held(self.folder / "writing")
        extent = self.sent.attempt or self._extent(over)
        if extent is None:
            return None
        self._take_lines()
        self._save(replace(self.sent, attempt=extent))
        lines = [line for end, line in self._lines if self.sent.until.facts < end <= extent.facts]
        return Parcel(self.sent.number + 1, lines, self._points(lines, extent.records))

    def done(self, refused: list[str]) -> None:
        """Record that the parcel of ``next`` is delivered.

        Args:
            refused: Why parts of the parcel were refused for good.
        """
        sent = self.sent
        assert sent.attempt is not None
        until, reasons = sent.attempt, [*sent.refused, *refused]
        self._save(Sent(until=until, number=sent.number + 1, refused=reasons))
        self._lines = [(end, line) for end, line in self._lines if end > until.facts]
        for page in range(sent.until.records // RECORDS, until.records // RECORDS):
            (self.folder / f"points-{page}").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether no process writes here any more and everything is sent."""
        over = not is_held(self.folder / "writing")
        return over and self.sent.attempt is None and self._extent(over) is None

    @property
    def waiting(self) -> int:
        """Number of points that are not sent yet, without those in packed pieces."""
        pages = sorted(int(file.name.partition("-")[2]) for file in self.folder.glob("points-*"))
        kinds = [self._records(page)["kind"] for page in pages]
        written = sum(int(np.count_nonzero((kind == WHOLE) | (kind == BROKEN))) for kind in kinds)
        return max(0, written - self.sent.until.records % RECORDS)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _extent(self, over: bool) -> Extent | None:
        """How far the next parcel goes, or None when there is nothing to send."""
        until = self.sent.until
        # Records are counted before facts are read: a record's key is written before the record.
        records = self._written(until.records, over)
        self._take_lines()
        facts = until.facts
        parcel_bytes = 0
        more_records = records % RECORDS == 0 and records > until.records
        for end, line in self._lines:
            if parcel_bytes > LARGEST_PARCEL or (line.end and (more_records or not over)):
                break
            if line.series:
                parcel_bytes += (self.folder / "series" / line.series.piece).stat().st_size
            else:
                parcel_bytes += end - facts
            facts = end
        extent = Extent(facts=facts, records=records)
        return None if extent == until else extent

    def _written(self, start: int, over: bool) -> int:
        """The number of records, counted from the first file on, that can be sent."""
        page, first = divmod(start, RECORDS)
        file = self.folder / f"points-{page}"
        if not file.exists():
            return start
        kinds = self._records(page)["kind"][first:]
        written = np.flatnonzero(kinds)
        if over:
            if (self.folder / f"points-{page + 1}").exists():
                return (page + 1) * RECORDS
            return start + (int(written[-1]) + 1 if len(written) else 0)
        return start + (len(kinds) if len(written) == len(kinds) else int(np.argmin(kinds != 0)))

    def _records(self, page: int) -> npt.NDArray[Any]:
        return np.fromfile(self.folder / f"points-{page}", _RECORD)

    def _take_lines(self) -> None:
        with (self.folder / "facts.jsonl").open("rb") as facts:
            facts.seek(self._read)
            for text in facts:
                if not text.endswith(b"\n"):
                    break
                self._read += len(text)
                try:
                    line = from_json(text, Line)
                except Invalid as error:  # half a line, when the disk was full
                    log.warning("A line of %s is damaged and left out: %s", self.folder, error)
                    line = Line()
                self._keys += line.keys
                if self._read > self.sent.until.facts:
                    self._lines.append((self._read, line))

    def _points(self, lines: list[Line], end: int) -> dict[str, Points]:
        parts: dict[str, list[Points]] = {}
        start = self.sent.until.records
        if end > start:
            page, first = divmod(start, RECORDS)
            records = self._records(page)[first : first + end - start]
            records = records[(records["kind"] == WHOLE) | (records["kind"] == BROKEN)]
            for key in np.unique(records["key"]).tolist():
                parts[self._keys[key]] = [_columns(records[records["key"] == key])]
        for line in lines:
            if line.series is not None:
                piece = unpack((self.folder / "series" / line.series.piece).read_bytes())
                parts.setdefault(line.series.key, []).append(piece)
        return {key: joined(pieces) for key, pieces in parts.items()}

    def _save(self, sent: Sent) -> None:
        aside = self._file.with_suffix(".part")
        aside.write_bytes(to_json(sent))
        aside.replace(self._file)
        self.sent = sent


def _columns(records: npt.NDArray[Any]) -> Points:
    """Records as columns; the steps of broken records become whole parts and fractions."""
    broken = records["kind"] == BROKEN
    whole = np.ascontiguousarray(records["step"])
    at = np.ascontiguousarray(records["at"])
    value = np.ascontiguousarray(records["value"])
    if not broken.any():
        return Points(whole, None, at, value)
    steps = np.where(broken, whole.view(np.float64), 0.0)
    fractions, whole_parts = np.modf(steps)
    return Points(np.where(broken, whole_parts.astype(np.int64), whole), fractions, at, value)
