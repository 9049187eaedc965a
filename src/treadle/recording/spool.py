"""What a run has logged and no server has yet, as files that outlive their process however it ends.

A writer is one process of a run. Its folder holds ``facts.jsonl`` (what happens rarely, a line each), ``points-N``
(mapped into memory: 65,536 records of 32 bytes, whose last field is set last), ``files/`` (copies of what was attached) and
``series/`` (packed pieces). Whoever sends them keeps in ``sent.json`` how far it came, and, before each attempt, what the attempt
holds: one that is made again is the same one, under the same number, and counts once.
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
from treadle.tracking.model import Dataset, Status, check_key
from treadle.tracking.segments import Points, joined, split, unpack

log = logging.getLogger(__name__)

RECORDS = 1 << 16
"""Records in one file of points."""
_SIZE = 32
LARGEST_PARCEL = 8 << 20
"""Bytes of facts and packed pieces after which no more go into a parcel."""
_LIVE_PAGES = 16
"""Files of points that stay mapped; a thread that sleeps in the middle of a record for longer than that writes it again."""
WHOLE, BROKEN, VOID = 1, 2, 3
"""What a record's last field says: its step is an integer, or a fraction, or the record is none. 0 is not written yet."""
_RECORD = np.dtype(
    [("step", "<i8"), ("at", "<i8"), ("value", "<f8"), ("key", "<u4"), ("kind", "<u4")]
)
pack_whole = struct.Struct("<qqdII").pack_into
_pack_broken = struct.Struct("<dqdII").pack_into


class Begin(Entity):
    """How a run begins."""

    experiment: str
    project: str
    name: str
    user: str
    started_at: datetime


class KeptFile(Entity):
    """An attached file: its path among the run's artifacts, and the copy's name in ``files/``."""

    path: str
    copy: str
    bytes: int


class KeptTree(Entity):
    """An attached folder that is one value: its path among the run's artifacts, and its files' copies."""

    path: str
    files: dict[str, str]


class KeptSeries(Entity):
    key: str
    piece: str


class UsedData(Entity):
    """Data that the run read. ``source`` is the file or folder that holds it, to be kept by content."""

    dataset: Dataset
    source: str = ""


class End(Entity):
    status: Status
    ended_at: datetime


class Line(Entity):
    """One line of ``facts.jsonl``: whatever was added at once."""

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
    """One process's part of a run. ``record`` may be called from any thread."""

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
        """Write a line; it is with the operating system when this returns. Raises Conflict once this is closed."""
        with self._lock:
            if self._facts < 0:  # its number may be another file's by now
                raise Conflict(f"The spool '{self.folder}' is closed; nothing can be added.")
            os.write(self._facts, to_json(line) + b"\n")

    def number(self, key: str) -> int:
        """A metric's number, given at its first use."""
        check_key("Metric", key)
        with self._lock:
            if key not in self.keys:
                self.add(Line(keys=[key]))
                self.keys = {**self.keys, key: len(self.keys)}
        return self.keys[key]

    def record(self, place: int, key: str, value: Any, step: Any, at: int) -> None:
        """Write one point at a place, whatever stood in the way of doing so quickly. Raises Invalid for what is no point."""
        page = self._page(place >> 16)
        if page is None:
            self.lost += 1
            return
        offset = (place & (RECORDS - 1)) * _SIZE
        try:
            number, value = self.number(key), float(value)
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
        """Keep a copy of a file or of bytes. Returns its name in ``files/``."""
        name = str(next(self._copies))
        target = self.folder / "files" / name
        if isinstance(source, bytes):
            target.write_bytes(source)
        else:
            shutil.copyfile(source, target)
        return name

    def piece(self, content: bytes) -> str:
        """Keep a packed piece of a series. Returns its name in ``series/``."""
        name = str(next(self._copies))
        (self.folder / "series" / name).write_bytes(content)
        return name

    def close(self) -> None:
        """Nothing more will be written from here. In a forked child this lets go of what is its parent's."""
        self.pages = []
        with self._lock:
            facts, self._facts = self._facts, -1
        os.close(facts)
        release(self._held)

    def _page(self, number: int) -> mmap.mmap | None:
        """A file of points, made when its first record is written. None when it cannot be had."""
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
                    log.warning(
                        "Points of run %s are lost, for they cannot be kept: %s",
                        self.folder.name,
                        error,
                    )
                return None
            page: mmap.mmap | None = self.pages[number]
            return page


def _mapped(file: Path) -> mmap.mmap:
    with file.open("w+b") as handle:
        handle.write(
            bytes(RECORDS * _SIZE)
        )  # written, so that a full disk is an error here and no signal later
        handle.flush()
        return mmap.mmap(handle.fileno(), RECORDS * _SIZE)


class Extent(Entity):
    """How far something goes: bytes of the facts, and records."""

    facts: int = 0
    records: int = 0


class Sent(Entity):
    """How far a folder is sent. ``attempt`` is what is being sent under the next number; it stays the same until it is over."""

    until: Extent = Extent()
    number: int = 0
    attempt: Extent | None = None
    refused: list[str] = []


class Parcel(NamedTuple):
    """What is sent at once. ``number`` counts a folder's parcels from 1."""

    number: int
    lines: list[Line]
    points: dict[str, Points]


class Outbox:
    """The reading side of a writer's folder. Only one process may have it open at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "sent.json"
        self.sent = from_json(self._file.read_bytes(), Sent) if self._file.exists() else Sent()
        self._keys: list[str] = []
        self._lines: list[tuple[int, Line]] = []  # with the place in the file where each ends
        self._read = 0

    @property
    def stream(self) -> str:
        """The name under which parcels are numbered: no two folders ever have the same."""
        return digest_of(self.folder.name.encode())[:32]

    def next(self) -> Parcel | None:
        """What is to be sent now, the same again until it is ``done``; None when there is nothing."""
        over = not is_held(self.folder / "writing")
        extent = self.sent.attempt or self._extent(over)
        if extent is None:
            return None
        self._take_lines()
        self._save(replace(self.sent, attempt=extent))
        lines = [line for end, line in self._lines if self.sent.until.facts < end <= extent.facts]
        return Parcel(self.sent.number + 1, lines, self._points(lines, extent.records))

    def done(self, refused: list[str]) -> None:
        """The parcel that ``next`` gave is delivered, but for what was refused for these reasons."""
        sent = self.sent
        assert sent.attempt is not None
        until, reasons = sent.attempt, [*sent.refused, *refused]
        self._save(Sent(until=until, number=sent.number + 1, refused=reasons))
        self._lines = [(end, line) for end, line in self._lines if end > until.facts]
        for page in range(sent.until.records // RECORDS, until.records // RECORDS):
            (self.folder / f"points-{page}").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether nobody writes here any more and all is sent."""
        over = not is_held(self.folder / "writing")
        return over and self.sent.attempt is None and self._extent(over) is None

    @property
    def waiting(self) -> int:
        """Points that are not sent yet, those in packed pieces left out."""
        pages = sorted(int(file.name.partition("-")[2]) for file in self.folder.glob("points-*"))
        kinds = [self._records(page)["kind"] for page in pages]
        written = sum(int(np.count_nonzero((kind == WHOLE) | (kind == BROKEN))) for kind in kinds)
        return max(0, written - self.sent.until.records % RECORDS)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _extent(self, over: bool) -> Extent | None:
        """As far as it makes sense to send now. Records first: a record's key is among the facts before it is written."""
        until = self.sent.until
        records = self._written(until.records, over)
        self._take_lines()
        facts, bytes_ = until.facts, 0
        more = records % RECORDS == 0 and records > until.records
        for end, line in self._lines:
            if bytes_ > LARGEST_PARCEL or (line.end and (more or not over)):
                break
            bytes_ += (
                (self.folder / "series" / line.series.piece).stat().st_size
                if line.series
                else end - facts
            )
            facts = end
        found = Extent(facts=facts, records=records)
        return None if found == until else found

    def _written(self, start: int, over: bool) -> int:
        """The place after the last record of this file that can be sent."""
        page, first = divmod(start, RECORDS)
        file = self.folder / f"points-{page}"
        if not file.exists():
            return start
        kinds = self._records(page)["kind"][first:]
        written = np.flatnonzero(kinds)
        if over:
            following = self.folder / f"points-{page + 1}"
            return (
                (page + 1) * RECORDS
                if following.exists()
                else start + (int(written[-1]) + 1 if len(written) else 0)
            )
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
            taken = self._records(page)[first : first + end - start]
            taken = taken[(taken["kind"] == WHOLE) | (taken["kind"] == BROKEN)]
            for key in np.unique(taken["key"]).tolist():
                parts[self._keys[key]] = [_columns(taken[taken["key"] == key])]
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
    broken = records["kind"] == BROKEN
    whole, at, value = (np.ascontiguousarray(records[name]) for name in ("step", "at", "value"))
    if not broken.any():
        return Points(whole, None, at, value)
    steps = np.where(broken, whole.view(np.float64), 0.0)
    rest, trunk = np.modf(steps)
    return Points(np.where(broken, trunk.astype(np.int64), whole), rest, at, value)
