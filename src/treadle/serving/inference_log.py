"""Every answered prediction, on the server's own disk, written before the answer is given.

A file is a sequence of records, each of one batch: a head (magic, sizes, a checksum), what the batch was, and its rows as
matrices. A batch costs one write, and is read back as it was written: by column.
"""

import os
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.kernel.clock import from_micros, to_micros
from treadle.ports.runtime import Layout
from treadle.serving.rows import Rows

SUFFIX = ".log"
_MAGIC = b"\xf7TRL"
_HEAD = struct.Struct(
    "<4sIII"
)  # magic, bytes of the facts, bytes of the matrices, checksum of both


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
    inputs: dict[str, Any]
    output: float | list[float] | None = None
    error: str | None = None


class Facts(msgspec.Struct, array_like=True):
    """What a batch was: its requests, with the rows of each where one has not just one, and who answered at what time."""

    ids: list[str]
    counts: list[int]
    micros: list[int]
    at: int
    version: str
    role: str
    generation: int
    columns: list[list[str]]  # names of the numbers, names of the texts
    wide: bool  # whether numbers are kept in 8 bytes each, or in 4
    width: int  # numbers in an output; 0 where it is one by itself
    texts: list[list[str | None]] = []
    errors: dict[int, str] = {}


class LogBatch:
    """Rows that one variant answered together.

    ``outputs`` is float32 (rows,) or (rows, classes); what it holds for a row in ``errors`` (row → reason) means nothing.
    """

    __slots__ = ("facts", "moments", "numbers", "outputs")

    def __init__(self, facts: Facts, numbers: NDArray[Any], outputs: NDArray[np.float32]) -> None:
        self.facts, self.numbers, self.outputs = facts, numbers, outputs
        self.moments: NDArray[np.int64] | None = (
            None  # of each row, where they are not all ``facts.at``
        )

    @classmethod
    def of(
        cls,
        *,
        ids: list[str],
        counts: list[int],
        micros: list[int],
        at: int,
        version: str,
        role: str,
        generation: int,
        layout: Layout,
        rows: Rows,
        outputs: NDArray[np.float32],
        errors: dict[int, str],
    ) -> "LogBatch":
        facts = Facts(
            ids,
            counts if len(counts) != len(rows) else [],
            micros,
            at,
            version,
            role,
            generation,
            [layout.numbers, layout.texts],
            rows.numbers.dtype != np.float32,
            outputs.shape[1] if outputs.ndim == 2 else 0,
            rows.texts.tolist() if layout.texts else [],
            errors,
        )
        return cls(facts, rows.numbers, outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def row_ids(self) -> list[str]:
        if not self.facts.counts:
            return self.facts.ids
        named = zip(self.facts.ids, self.facts.counts, strict=True)
        return [id if n == 0 else f"{id}#{n}" for id, count in named for n in range(count)]

    @property
    def row_micros(self) -> list[int]:
        if not self.facts.counts:
            return self.facts.micros
        return [
            m
            for m, count in zip(self.facts.micros, self.facts.counts, strict=True)
            for _ in range(count)
        ]

    @property
    def row_moments(self) -> NDArray[np.int64]:
        return (
            np.full(len(self), self.facts.at, dtype=np.int64)
            if self.moments is None
            else self.moments
        )

    def column(self, name: str) -> NDArray[Any] | None:
        """An input column (rows,): numbers with NaN for null, or objects with None; None where there is no such column."""
        numbers, texts = self.facts.columns
        if name in numbers:
            return np.asarray(self.numbers[:, numbers.index(name)])
        if name in texts:
            place = texts.index(name)
            return np.array([row[place] for row in self.facts.texts], dtype=object)
        return None

    def rows(self) -> Iterator[LogRow]:
        """The batch row by row."""
        facts, outputs = self.facts, self.outputs.tolist()
        names, text_names = facts.columns
        numbers = [
            [None if value != value else value for value in row] for row in self.numbers.tolist()
        ]
        moments = self.row_moments.tolist()
        for place, (id, micros) in enumerate(zip(self.row_ids, self.row_micros, strict=True)):
            inputs: dict[str, Any] = dict(zip(names, numbers[place], strict=True))
            if text_names:
                inputs |= zip(text_names, facts.texts[place], strict=True)
            error = facts.errors.get(place)
            yield LogRow(
                id=id,
                at=moments[place],
                version=facts.version,
                role=facts.role,
                generation=facts.generation,
                micros=micros,
                inputs=inputs,
                output=None if error is not None else outputs[place],
                error=error,
            )

    def encoded(self) -> list[Any]:
        """The record's pieces, none of them copied."""
        facts, numbers = _encode(self.facts), np.ascontiguousarray(self.numbers)
        outputs = np.ascontiguousarray(self.outputs)
        checksum = crc32(outputs.data, crc32(numbers.data, crc32(facts)))
        return [
            _HEAD.pack(_MAGIC, len(facts), numbers.nbytes + outputs.nbytes, checksum),
            facts,
            numbers,
            outputs,
        ]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Facts).decode


class LogWriter:
    """Appends batches to ``FOLDER/DATE/PROCESS.log``, each in one write. The date is the clock's, in UTC."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor, self._day, self._size = -1, -1, 0

    def append(self, batch: LogBatch) -> None:
        """Write a batch; it survives the end of this process. Raises OSError when the disk does not take it whole."""
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
        """Cut off what was written of a batch; where even that fails, the next batch begins a file of its own."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.close()


class LogTail:
    """Reads what was appended since it last looked. Torn records (of a process that was killed) are passed over."""

    def __init__(self, folder: Path, since: datetime) -> None:
        self._folder, self._since = folder, since
        self._offsets: dict[Path, int] = {}

    def batches(self) -> Iterator[LogBatch]:
        since = to_micros(self._since)
        for file in files(self._folder, self._since, None):
            offset = self._offsets.get(file, 0)
            with file.open("rb") as handle:
                handle.seek(offset)
                content = handle.read()
            place = 0
            for batch, place in records(content):  # noqa: B007 - where the last whole record ended
                if batch.facts.at >= since:
                    yield batch
            self._offsets[file] = offset + place

    def read(self) -> Iterator[LogRow]:
        for batch in self.batches():
            yield from batch.rows()


def records(content: bytes) -> Iterator[tuple[LogBatch, int]]:
    """Whole records with the place where each ends. What lies between them is no record and is passed over."""
    place = content.find(_MAGIC)
    while place >= 0:
        found = _record(content, place)
        if found is None:
            place = content.find(_MAGIC, place + 1)
            continue
        yield found
        place = found[1] if content.startswith(_MAGIC, found[1]) else content.find(_MAGIC, found[1])


def _record(content: bytes, place: int) -> tuple[LogBatch, int] | None:
    if place + _HEAD.size > len(content):
        return None
    _, facts_size, rest, checksum = _HEAD.unpack_from(content, place)
    start = place + _HEAD.size
    middle, end = start + facts_size, start + facts_size + rest
    if end > len(content) or crc32(memoryview(content)[start:end]) != checksum:
        return None
    try:
        facts = _decode(memoryview(content)[start:middle])
        return _batch(facts, content, middle, end), end
    except (msgspec.DecodeError, ValueError):
        return None


def _batch(facts: Facts, content: bytes, start: int, end: int) -> LogBatch:
    rows = sum(facts.counts) if facts.counts else len(facts.ids)
    kind = np.dtype("<f8" if facts.wide else "<f4")
    columns = len(facts.columns[0])
    numbers = np.frombuffer(content, dtype=kind, count=rows * columns, offset=start).reshape(
        rows, columns
    )
    outputs = np.frombuffer(content[start + numbers.nbytes : end], dtype="<f4")
    return LogBatch(facts, numbers, outputs.reshape(rows, facts.width) if facts.width else outputs)


def files(folder: Path, since: datetime, until: datetime | None) -> list[Path]:
    return [file for day in days(folder, since, until) for file in sorted(day.glob(f"*{SUFFIX}"))]


def days(folder: Path, since: datetime, until: datetime | None, suffix: str = "") -> list[Path]:
    """Files or folders that are named for a day of a period."""
    first = since.astimezone(UTC).date().isoformat()
    last = (
        ((until or datetime.max.replace(tzinfo=UTC) - timedelta(days=1)).astimezone(UTC))
        .date()
        .isoformat()
    )
    days = [path for path in sorted(folder.glob(f"*{suffix}")) if path.suffix == suffix]
    return [path for path in days if first <= path.name.removesuffix(suffix) <= last]
