"""Writes every answered prediction to the server's own disk before the answer is sent.

A file is a sequence of records, each of one batch, so that a batch costs one write.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from treadle.kernel.clock import from_micros, to_micros
from treadle.serving.log_batch import LogBatch, LogRow, records

SUFFIX = ".log"


class LogWriter:
    """Appends batches to `FOLDER/DATE/PROCESS.log`, each in one write.

    The date is that of the batch's moment, in UTC.

    Args:
        folder: The endpoint's log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor, self._day, self._size = -1, -1, 0

    def append(self, batch: LogBatch) -> None:
        """Write a batch; it survives the end of this process.

        Args:
            batch: The batch.

        Raises:
            OSError: The disk does not take the whole batch; then none of it stays in the log.
        """
        day = batch.facts.at // 86_400_000_000
        if day != self._day:
            self._open(day)
        pieces = batch.encoded()
        written = os.writev(self._descriptor, pieces)
        if written != sum(memoryview(piece).nbytes for piece in pieces):
            self._take_back()
            raise OSError("the disk took only a part of the inference log's rows")
        self._size += written

    def close(self) -> None:
        """Close the file; the next batch opens another."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = self._day = -1

    def _open(self, day: int) -> None:
        self.close()
        folder = self._folder / from_micros(day * 86_400_000_000).date().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{os.getpid()}-{os.urandom(4).hex()}{SUFFIX}"
        self._descriptor = os.open(
            folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o644
        )
        self._day, self._size = day, 0

    def _take_back(self) -> None:
        """Cut off a batch's part; where even that fails, the next batch begins another file."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.close()


class LogTail:
    """Reads what was appended since it last looked.

    Incomplete records, which a killed process leaves, are passed over.

    Args:
        folder: The endpoint's log.
        since: Batches from before this moment are passed over.
    """

    def __init__(self, folder: Path, since: datetime) -> None:
        self._folder, self._since = folder, since
        self._offsets: dict[Path, int] = {}

    def batches(self) -> Iterator[LogBatch]:
        """Yield the batches that were appended since the last call."""
        since = to_micros(self._since)
        for file in files(self._folder, self._since, None):
            offset = self._offsets.get(file, 0)
            with file.open("rb") as handle:
                handle.seek(offset)
                content = handle.read()
            end = 0
            for batch, end in records(content):  # noqa: B007 - where the last whole record ended
                if batch.facts.at >= since:
                    yield batch
            self._offsets[file] = offset + end

    def read(self) -> Iterator[LogRow]:
        """Yield the rows that were appended since the last call."""
        for batch in self.batches():
            yield from batch.rows()


def files(folder: Path, since: datetime, until: datetime | None) -> list[Path]:
    """Return the files of records of a period's days.

    Args:
        folder: The endpoint's log.
        since: The period's begin.
        until: The period's end; None for no end.
    """
    return [file for day in days(folder, since, until) for file in sorted(day.glob(f"*{SUFFIX}"))]


def days(folder: Path, since: datetime, until: datetime | None, suffix: str = "") -> list[Path]:
    """Return the files or folders that are named for a period's days.

    Args:
        folder: The endpoint's log.
        since: The period's begin.
        until: The period's end; None for no end.
        suffix: What their names have behind the date.
    """
    first = since.astimezone(UTC).date().isoformat()
    end = until or datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
    last = end.astimezone(UTC).date().isoformat()
    paths = [path for path in sorted(folder.glob(f"*{suffix}")) if path.suffix == suffix]
    return [path for path in paths if first <= path.name.removesuffix(suffix) <= last]
