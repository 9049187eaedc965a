"""Rows that were answered together, and the record of them that the inference log holds.

A record is a head (magic, sizes, a checksum), what the batch was, and its rows as matrices. It is
read back by column.
"""

import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.ports.runtime import Layout
from treadle.serving.rows import Rows

_MAGIC = b"\xf7TRL"
BATCH = "batch"
"""The role of rows of a scored file: the champion's answers, which nobody waited for."""
_HEAD = struct.Struct("<4sIII")  # magic, bytes of the facts, bytes of the matrices, their checksum


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of one prediction.

    Attributes:
        id: The request's id, with `#1`, `#2` and so on for further rows of the request. A shadow's
            row has the id of the request that it mirrors.
        at: When it was answered, in microseconds since 1970.
        version: The version that answered.
        role: The role that the version had.
        generation: The endpoint's generation.
        micros: How long the answer took, in microseconds.
        inputs: The inputs by name; None for null.
        output: The answer; None where there is an error.
        error: Why the model failed, or None.
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
    """What a batch was.

    Attributes:
        ids: The requests' ids.
        counts: The rows of each request; empty where each has one.
        micros: How long each answer took, in microseconds.
        at: When the batch was answered, in microseconds since 1970.
        version: The version that answered.
        role: The role that the version had.
        generation: The endpoint's generation.
        columns: The names of the numbers, and those of the texts.
        wide: Whether a number takes 8 bytes, or 4.
        width: The numbers in an output; 0 where an output is one number.
        texts: The text inputs, row by row.
        errors: Why rows failed, by the row's index.
    """

    ids: list[str]
    counts: list[int]
    micros: list[int]
    at: int
    version: str
    role: str
    generation: int
    columns: list[list[str]]
    wide: bool
    width: int
    texts: list[list[str | None]] = []
    errors: dict[int, str] = {}


class LogBatch:
    """Rows that one variant answered together.

    Args:
        facts: What the batch was.
        numbers: The numeric inputs (rows, numbers), with NaN for null.
        outputs: The answers, float32 (rows,) or (rows, classes); that of a row which failed has no
            meaning.

    Attributes:
        moments: When each row was answered, in microseconds since 1970; None where all have
            `facts.at`.
    """

    __slots__ = ("facts", "moments", "numbers", "outputs")

    def __init__(self, facts: Facts, numbers: NDArray[Any], outputs: NDArray[np.float32]) -> None:
        self.facts, self.numbers, self.outputs = facts, numbers, outputs
        self.moments: NDArray[np.int64] | None = None

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
        """Describe the rows that one variant answered together.

        Args:
            ids: The requests' ids.
            counts: How many rows each request has.
            micros: How long each answer took, in microseconds.
            at: When the batch was answered, in microseconds since 1970.
            version: The version that answered.
            role: The role that the version had.
            generation: The endpoint's generation.
            layout: The names of the rows' columns.
            rows: The rows.
            outputs: The answers, float32 (rows,) or (rows, classes).
            errors: Why rows failed, by the row's index.
        """
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
        """The rows' ids: the request's, with `#1`, `#2` and so on for its further rows."""
        if not self.facts.counts:
            return self.facts.ids
        named = zip(self.facts.ids, self.facts.counts, strict=True)
        return [
            id if number == 0 else f"{id}#{number}"
            for id, count in named
            for number in range(count)
        ]

    @property
    def row_micros(self) -> list[int]:
        """How long each row's answer took, in microseconds."""
        if not self.facts.counts:
            return self.facts.micros
        timed = zip(self.facts.micros, self.facts.counts, strict=True)
        return [micros for micros, count in timed for _ in range(count)]

    @property
    def row_moments(self) -> NDArray[np.int64]:
        """When each row was answered, in microseconds since 1970."""
        if self.moments is not None:
            return self.moments
        return np.full(len(self), self.facts.at, dtype=np.int64)

    def column(self, name: str) -> NDArray[Any] | None:
        """Return an input of all rows, or None where there is no such input.

        Args:
            name: The input's name.

        Returns:
            An array (rows,) of numbers with NaN for null, or of objects with None for null.
        """
        numbers, texts = self.facts.columns
        if name in numbers:
            return np.asarray(self.numbers[:, numbers.index(name)])
        if name in texts:
            index = texts.index(name)
            return np.array([row[index] for row in self.facts.texts], dtype=object)
        return None

    def rows(self) -> Iterator[LogRow]:
        """Yield the rows one by one."""
        facts, outputs = self.facts, self.outputs.tolist()
        names, text_names = facts.columns
        numbers = [
            [None if value != value else value for value in row] for row in self.numbers.tolist()
        ]
        moments = self.row_moments.tolist()
        for row, (id, micros) in enumerate(zip(self.row_ids, self.row_micros, strict=True)):
            inputs: dict[str, Any] = dict(zip(names, numbers[row], strict=True))
            if text_names:
                inputs |= zip(text_names, facts.texts[row], strict=True)
            error = facts.errors.get(row)
            yield LogRow(
                id=id,
                at=moments[row],
                version=facts.version,
                role=facts.role,
                generation=facts.generation,
                micros=micros,
                inputs=inputs,
                output=None if error is not None else outputs[row],
                error=error,
            )

    def encoded(self) -> list[Any]:
        """Return the pieces of the batch's record; the matrices are not copied."""
        facts, numbers = _encode(self.facts), np.ascontiguousarray(self.numbers)
        outputs = np.ascontiguousarray(self.outputs)
        checksum = crc32(outputs.data, crc32(numbers.data, crc32(facts)))
        return [
            _HEAD.pack(_MAGIC, len(facts), numbers.nbytes + outputs.nbytes, checksum),
            facts,
            numbers,
            outputs,
        ]


def record_of(
    facts: Facts, numbers: NDArray[Any], outputs: NDArray[np.float32], size: int
) -> bytes | None:
    """Return a record of a given size: behind its facts is padding, which readers pass over.

    Args:
        facts: What the batch was.
        numbers: The numeric inputs (rows, numbers).
        outputs: The answers.
        size: The size in bytes.

    Returns:
        None where the record is larger without any padding.
    """
    matrices = np.ascontiguousarray(numbers).tobytes() + np.ascontiguousarray(outputs).tobytes()
    plain = _encode(facts)
    left = size - _HEAD.size - len(plain) - len(matrices)
    if left < 0:
        return None
    if left:  # one more element of the array; its first byte says how many there are
        plain = bytes([plain[0] + 1]) + plain[1:] + _padding(left)
    checksum = crc32(matrices, crc32(plain))
    return _HEAD.pack(_MAGIC, len(plain), len(matrices), checksum) + plain + matrices


def _padding(size: int) -> bytes:
    """An element of MessagePack of a size, from 1 byte on."""
    if size == 1:
        return b"\xc0"
    if size < 2 + 256:
        return struct.pack(">BB", 0xC4, size - 2) + bytes(size - 2)
    if size < 3 + (1 << 16):
        return struct.pack(">BH", 0xC5, size - 3) + bytes(size - 3)
    return struct.pack(">BI", 0xC6, size - 5) + bytes(size - 5)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Facts).decode


def records(content: bytes) -> Iterator[tuple[LogBatch, int]]:
    """Yield the whole records of a log with the position where each ends.

    What lies between them is no record, and is passed over, and so is one without rows.

    Args:
        content: The log's content.
    """
    for batch, _, end in placed(content):
        yield batch, end


def placed(content: bytes) -> Iterator[tuple[LogBatch, int, int]]:
    """Yield the whole records of a log that have rows, with where each begins and ends.

    Args:
        content: The log's content.
    """
    start = content.find(_MAGIC)
    while start >= 0:
        record = _record(content, start)
        if record is None:
            start = content.find(_MAGIC, start + 1)
            continue
        batch, end = record
        if len(batch):
            yield batch, start, end
        start = end if content.startswith(_MAGIC, end) else content.find(_MAGIC, end)


def gaps(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each part of a log that is no whole record.

    Args:
        content: The log's content.
    """
    start = 0
    while start < len(content):
        record = _record(content, start) if content.startswith(_MAGIC, start) else None
        if record is not None:
            start = record[1]
            continue
        end = content.find(_MAGIC, start + 1)
        while end >= 0 and _record(content, end) is None:
            end = content.find(_MAGIC, end + 1)
        yield start, end if end >= 0 else len(content)
        start = end if end >= 0 else len(content)


def _record(content: bytes, head: int) -> tuple[LogBatch, int] | None:
    """The record whose head is at a position; None where that record is not whole."""
    if head + _HEAD.size > len(content):
        return None
    _, facts_size, rest, checksum = _HEAD.unpack_from(content, head)
    start = head + _HEAD.size
    middle = start + facts_size
    end = middle + rest
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
    flat = np.frombuffer(content, dtype=kind, count=rows * columns, offset=start)
    numbers = flat.reshape(rows, columns)
    outputs = np.frombuffer(content[start + numbers.nbytes : end], dtype="<f4")
    return LogBatch(facts, numbers, outputs.reshape(rows, facts.width) if facts.width else outputs)
