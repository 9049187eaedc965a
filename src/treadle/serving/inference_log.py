"""Every answered prediction, on the server's own disk, written before the answer is given."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from treadle.kernel.clock import from_micros, to_micros


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of one prediction. ``id`` is the request's id, with ``#1``, ``#2`` … for further rows of a request.

    ``at`` and ``micros`` are microseconds: the moment, and what the answer took. ``output`` is null when ``error`` is set.
    A shadow's row has the id of the request it mirrors.
    """

    id: str
    at: int
    version: str
    role: str
    generation: int
    micros: int
    inputs: Any
    output: float | list[float] | None = None
    error: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LogRow)


class LogWriter:
    """Appends rows to ``FOLDER/DATE/PROCESS.jsonl``, a batch in one write. The date is the clock's, in UTC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        self._day, self._descriptor, self._torn = -1, -1, False

    def append(self, rows: list[LogRow]) -> None:
        """Write rows; they survive the end of this process. Raises OSError when the disk does not take them all."""
        day = rows[0].at // 86_400_000_000
        if day != self._day:
            self._open(day)
        content = _encoder.encode_lines(rows)
        content = b"\n" + content if self._torn else content
        self._torn = True
        if os.write(self._descriptor, content) != len(content):
            raise OSError("the disk took only a part of the inference log's rows")
        self._torn = False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = self._day = -1

    def _open(self, day: int) -> None:
        self.close()
        folder = self._folder / from_micros(day * 86_400_000_000).date().isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._day = day


class LogTail:
    """Reads what was appended since it last looked. Torn lines (of a process that was killed) are passed over."""

    def __init__(self, folder: Path, since: datetime) -> None:
        self._folder, self._since = folder, since
        self._offsets: dict[Path, int] = {}

    def read(self) -> Iterator[LogRow]:
        since = to_micros(self._since)
        for file in _files(self._folder, self._since, None):
            offset = self._offsets.get(file, 0)
            with file.open("rb") as handle:
                handle.seek(offset)
                content = handle.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._offsets[file] = offset + len(whole)
            yield from (row for row in _decode(whole) if row.at >= since)


class InferenceLogs:
    """The inference logs of all endpoints, under ``ROOT/ENDPOINT/log``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, endpoint: str, since: datetime, until: datetime) -> Iterator[LogRow]:
        """All rows with ``since`` ≤ at < ``until``, file by file."""
        first, last = to_micros(since), to_micros(until)
        for file in _files(self._root / endpoint / "log", since, until):
            yield from (row for row in _decode(file.read_bytes()) if first <= row.at < last)

    def tail(self, endpoint: str, since: datetime) -> LogTail:
        return LogTail(self._root / endpoint / "log", since)


def _decode(content: bytes) -> Iterator[LogRow]:
    for line in content.splitlines():
        try:
            yield _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # a torn line: its request was never answered


def _files(folder: Path, since: datetime, until: datetime | None) -> list[Path]:
    first = since.astimezone(UTC).date().isoformat()
    last = ((until or datetime.max.replace(tzinfo=UTC) - timedelta(days=1)).astimezone(UTC)).date().isoformat()
    days = [day for day in sorted(folder.glob("*")) if first <= day.name <= last]
    return [file for day in days for file in sorted(day.glob("*.jsonl"))]
