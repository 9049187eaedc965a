"""The reading side of the spool: cuts what a process has written into parcels to send once."""

import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.process import is_held
from treadle.ports.blobs import digest_of
from treadle.recording.lines import Line
from treadle.recording.point_records import RECORDS, columns_of, points_in, read_page
from treadle.tracking.segments import Points, joined, unpack

log = logging.getLogger(__name__)

LARGEST_PARCEL = 8 << 20
"""Bytes of facts and packed pieces after which no more go into a parcel."""


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
        """The parcel to send now, the same until ``done``; None when there is nothing to send.

        Raises:
            OSError: The folder cannot be read, or the disk does not take ``sent.json``.
        """
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

        Raises:
            OSError: The disk does not take ``sent.json``.
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
        written = sum(len(points_in(self._records(page))) for page in pages)
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
        return read_page(self.folder / f"points-{page}")

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
            records = points_in(self._records(page)[first : first + end - start])
            for key in np.unique(records["key"]).tolist():
                parts[self._keys[key]] = [columns_of(records[records["key"] == key])]
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
