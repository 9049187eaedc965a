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
from itertools import count
from pathlib import Path
from typing import Any

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.process import hold, release
from treadle.recording.lines import Line
from treadle.recording.point_records import (
    BROKEN,
    RECORD_BYTES,
    RECORDS,
    VOID,
    WHOLE,
    new_page,
    pack_broken,
    pack_whole,
)
from treadle.tracking.limits import check_key
from treadle.tracking.segments import split

log = logging.getLogger(__name__)

_LIVE_PAGES = 16
"""Files of points that stay mapped.

A thread that is interrupted within a record for longer than that writes the record again.
"""


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
            OSError: The disk does not take the line.
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
        offset = (place & (RECORDS - 1)) * RECORD_BYTES
        try:
            number = self.number(key)
            value = float(value)
            try:
                pack_whole(page, offset, step, at, value, number, WHOLE)
            except (struct.error, TypeError):
                split(step if isinstance(step, int) else float(step))
                pack_broken(page, offset, float(step), at, value, number, BROKEN)
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

        Raises:
            OSError: The file cannot be read, or the disk does not take the copy.
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

        Raises:
            OSError: The disk does not take the piece.
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
                    self.pages.append(new_page(self.folder / f"points-{len(self.pages)}"))
                    if len(self.pages) > _LIVE_PAGES:
                        self.pages[-_LIVE_PAGES - 1] = None
            except OSError as error:
                if not self.lost:
                    warning = "Points of run %s are lost, for they cannot be kept: %s"
                    log.warning(warning, self.folder.name, error)
                return None
            page: mmap.mmap | None = self.pages[number]
            return page
