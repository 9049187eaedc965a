"""Takes rows of a person out of the inference log, also of files that a server is writing to.

A record is overwritten in its place by a shorter one of the same length: what it has fewer is
padding, which readers pass over. A server that appends to the file meanwhile is not disturbed.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from treadle.data.erasing.subject import Matching
from treadle.serving.log_batch import Facts, LogBatch, gaps, placed, record_of, records

REQUEST = "request"
"""The column of past days that holds the requests' ids."""
_SMALLEST_VOID = 64


def rows_of(batch: LogBatch, subjects: list[Matching]) -> NDArray[np.bool_]:
    """Which rows of a batch are some subjects'.

    Args:
        batch: The batch.
        subjects: The subjects.

    Returns:
        Booleans (rows,).
    """
    found = np.zeros(len(batch), dtype=bool)
    for subject in subjects:
        for name in (*batch.facts.columns[0], *batch.facts.columns[1]):
            if subject.is_column(name):
                values = batch.column(name)
                assert values is not None
                is_text = values.dtype == object
                found |= values == subject.text if is_text else subject.fits_logged(values)
        if subject.is_column(REQUEST):
            found |= np.array([id == subject.text for id in batch.row_ids], dtype=bool)
    return found


def count_in(file: Path, subjects: list[Matching]) -> int:
    """Count the rows of some subjects in a file of records.

    Args:
        file: The file.
        subjects: The subjects.
    """
    batches = (batch for batch, _ in records(file.read_bytes()))
    return sum(int(rows_of(batch, subjects).sum()) for batch in batches)


class Torn(NamedTuple):
    """Parts of a log that are no whole records, such as what a crash has left half written.

    Attributes:
        held: How many have a value of some subjects, and can be overwritten.
        unread: How many may have one, and stay.
    """

    held: int
    unread: int


def torn_in(file: Path, subjects: list[Matching]) -> Torn:
    """Look for values of some subjects in what is no whole record of a file.

    Args:
        file: The file.
        subjects: The subjects.
    """
    content = file.read_bytes()
    values = [one.text.encode() for one in subjects if one.is_telling]
    is_sure = len(values) == len(subjects) and all(one.number is None for one in subjects)
    held = unread = 0
    for start, end in gaps(content):
        if any(value in content[start:end] for value in values):
            is_ours = _is_ours(content, start, end)
            held, unread = held + is_ours, unread + (not is_ours)
        elif not is_sure:  # numbers are binary there, and short values are anywhere
            unread += 1
    return Torn(held, unread)


def _is_ours(content: bytes, start: int, end: int) -> bool:
    """Whether a part that is no record can be overwritten: nobody writes there any more."""
    return end < len(content) and end - start >= _SMALLEST_VOID


def ids_in(file: Path, subjects: list[Matching]) -> list[str]:
    """The ids of the rows of some subjects in a file of records, and of rows that move with them.

    Args:
        file: The file.
        subjects: The subjects.
    """
    found: list[str] = []
    for batch, _ in records(file.read_bytes()):
        gone = rows_of(batch, subjects)
        if gone.any():
            found += _touched(batch, gone)
    return found


def take_out(file: Path, subjects: list[Matching]) -> int:
    """Overwrite the rows of some subjects in a file of records; may be repeated.

    What a process that was killed has left half written, here or in the log, is overwritten too.

    Args:
        file: The file.
        subjects: The subjects.

    Returns:
        The number of rows that were taken out.
    """
    content = file.read_bytes()
    removed = 0
    with file.open("r+b") as target:
        for batch, start, end in placed(content):
            gone = rows_of(batch, subjects)
            if gone.any():
                target.seek(start)
                target.write(_without(batch, gone, end - start))
                removed += int(gone.sum())
        for start, end in gaps(content):
            if _is_ours(content, start, end):
                target.seek(start)
                target.write(_void(end - start))
        target.flush()
        os.fsync(target.fileno())
    return removed


def _without(batch: LogBatch, gone: NDArray[np.bool_], size: int) -> bytes:
    """The record of a batch without some rows, with padding up to a size."""
    kept = np.flatnonzero(~gone)
    facts = batch.facts
    ids, micros = batch.row_ids, batch.row_micros
    changes: dict[str, Any] = {
        "texts": [facts.texts[row] for row in kept] if facts.texts else [],
        "errors": {
            place: facts.errors[int(row)]
            for place, row in enumerate(kept)
            if int(row) in facts.errors
        },
    }
    numbers, outputs = batch.numbers[kept], batch.outputs[kept]
    exact = msgspec.structs.replace(
        facts,
        ids=[ids[row] for row in kept],
        micros=[micros[row] for row in kept],
        counts=[],
        **changes,
    )
    content = record_of(exact, numbers, outputs, size)
    if content is not None:
        return content
    fewer = msgspec.structs.replace(facts, **_fewer(facts, gone), **changes)
    content = record_of(fewer, numbers, outputs, size)
    assert content is not None, "a record without rows is shorter"
    return content


def _fewer(facts: Facts, gone: NDArray[np.bool_]) -> dict[str, Any]:
    """Requests with fewer rows; those without any are left out."""
    left, start = [], 0
    for count in facts.counts:
        left.append(int(count - gone[start : start + count].sum()))
        start += count
    kept = [place for place, count in enumerate(left) if count]
    return {
        "ids": [facts.ids[place] for place in kept],
        "micros": [facts.micros[place] for place in kept],
        "counts": [left[place] for place in kept],
    }


def _touched(batch: LogBatch, gone: NDArray[np.bool_]) -> list[str]:
    """The ids of rows that go, and of all rows of their requests where those have several."""
    ids = batch.row_ids
    asked = {ids[row].partition("#")[0] for row in np.flatnonzero(gone)}
    if not batch.facts.counts:
        return [ids[row] for row in np.flatnonzero(gone)]
    return [id for id in ids if id.partition("#")[0] in asked]


def _void(size: int) -> bytes:
    """A record without rows, of a size."""
    nothing = Facts([], [], [], 0, "", "", 0, [[], []], False, 0)
    empty = np.empty((0, 0), dtype=np.float32)
    content = record_of(nothing, empty, empty[:, :0].reshape(0), size)
    assert content is not None
    return content
