"""Finds a subject's rows in a file of any kind, and copies the file without them."""

import csv
import gzip
import shutil
import zlib
from pathlib import Path
from typing import NamedTuple

from treadle.data.erasing import parquet_rows
from treadle.data.erasing.bytes_search import has_text, may_have
from treadle.data.erasing.json_rows import redact_json, redact_json_lines
from treadle.data.erasing.parquet_rows import where_in
from treadle.data.erasing.subject import Matching
from treadle.data.erasing.text_rows import Taken, Written, redact_csv
from treadle.kernel.errors import Invalid

__all__ = ["Look", "has_text", "is_table", "kind_of", "look_into", "redact", "where_in"]

LARGE_BYTES = 1 << 20
"""The bytes of text files of this size are searched for the value before their rows are read."""
ELSEWHERE = "the value is in it, and not in that column"
_PARQUET = b"PAR1"
_UNREADABLE = (
    Invalid,
    csv.Error,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""How reading a damaged file fails."""
_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "json lines",
    ".ndjson": "json lines",
    ".json": "json",
}


class Look(NamedTuple):
    """What a file holds of some subjects.

    Attributes:
        rows: How many of its rows, or entries, are theirs.
        unread: Why it cannot be looked into, or is left; empty where neither is so.
        has_text: Whether a value of theirs is among the bytes of such a file.
        whole: Whether nothing of the file would be left.
    """

    rows: int = 0
    unread: str = ""
    has_text: bool = False
    whole: bool = False


def is_table(name: str, head: bytes) -> bool:
    """Whether a file is a table of a kind that can be looked into.

    Args:
        name: Its name, perhaps empty.
        head: Its first bytes.
    """
    return bool(_kind_by_name(name)) or head.startswith(_PARQUET)


def kind_of(name: str, file: Path) -> str:
    """What kind of table a file is: by its name's ending, else by its first bytes.

    Args:
        name: Its name, perhaps empty.
        file: The file.

    Returns:
        ``csv``, ``parquet``, ``json lines``, ``json``, or an empty text for another.
    """
    if named := _kind_by_name(name):
        return named
    with file.open("rb") as content:
        return "parquet" if content.read(len(_PARQUET)) == _PARQUET else ""


def look_into(file: Path, name: str, subjects: list[Matching]) -> Look:
    """Count a file's rows that are some subjects'.

    Args:
        file: The file.
        name: Its name, which tells its kind; perhaps empty.
        subjects: The subjects.
    """
    import duckdb  # late, as in treadle.data.engine

    kind = kind_of(name, file)
    if not kind:
        return Look(unread="it is no table", has_text=has_text(file, subjects))
    try:
        with Unpacked(file, name) as plain:
            return _look(plain, name, kind, subjects)
    except (*_UNREADABLE, duckdb.Error) as error:
        reason = f"it cannot be read: {_reason(error, subjects)}"
        return Look(unread=reason, has_text=has_text(file, subjects))


def redact(file: Path, name: str, subjects: list[Matching], to: Path) -> int:
    """Copy a table without the rows of some subjects.

    Args:
        file: A file that ``look_into`` has found rows in, not all of it.
        name: Its name.
        subjects: The subjects.
        to: Where to write the copy.

    Returns:
        The number of rows that were left out.
    """
    kind = kind_of(name, file)
    is_packed = name.lower().endswith(".gz")
    with Unpacked(file, name) as plain:
        if kind == "parquet":
            removed = parquet_rows.redact(plain, subjects, to)
            return _packed(to, removed) if is_packed else removed
        with to.open("wb") as target:
            if not is_packed:
                return _take(plain, name, kind, subjects, target).rows
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
                return _take(plain, name, kind, subjects, packed).rows


def _packed(file: Path, removed: int) -> int:
    """Compress a file in its place."""
    plain = file.with_name(f"{file.name}.plain")
    file.rename(plain)
    with plain.open("rb") as source, file.open("wb") as target:
        with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
            shutil.copyfileobj(source, packed, 1 << 20)
    plain.unlink()
    return removed


class Unpacked:
    """Gives a file as it is without compression by gzip; an unpacked copy is removed at the end.

    Args:
        file: The file.
        name: Its name, which says whether it is compressed.
    """

    def __init__(self, file: Path, name: str) -> None:
        self._file = file
        self._copy = file.with_name(f"{file.name}.plain")
        self._packed = name.lower().endswith(".gz")

    def __enter__(self) -> Path:
        if not self._packed:
            return self._file
        with gzip.open(self._file) as source, self._copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return self._copy

    def __exit__(self, *_: object) -> None:
        if self._packed:
            self._copy.unlink(missing_ok=True)


def _kind_by_name(name: str) -> str:
    suffixes = [part.lower() for part in Path(name).suffixes[-2:]]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1], "") if suffixes else ""


def _take(file: Path, name: str, kind: str, subjects: list[Matching], to: Written = None) -> Taken:
    """Take rows out of a text file; without a target they are only counted."""
    if kind == "csv":
        suffixes = [suffix.lower() for suffix in Path(name).suffixes]
        return redact_csv(file, subjects, to, "\t" if ".tsv" in suffixes else "")
    redact_text = redact_json_lines if kind == "json lines" else redact_json
    return redact_text(file, subjects, to)


def _look(file: Path, name: str, kind: str, subjects: list[Matching]) -> Look:
    """Look into a file that is unpacked."""
    if kind == "parquet":
        return _look_into_parquet(file, subjects)
    is_large = file.stat().st_size >= LARGE_BYTES
    if is_large and not may_have(file, subjects, is_json=kind != "csv"):
        return Look()
    taken = _take(file, name, kind, subjects)
    if taken.rows:
        return Look(rows=taken.rows, whole=taken.is_whole)
    found = has_text(file, subjects)
    return Look(unread=ELSEWHERE, has_text=True) if taken.is_deeper or found else Look()


def _look_into_parquet(file: Path, subjects: list[Matching]) -> Look:
    found = parquet_rows.look_into(file, subjects)
    if found.rows and found.refusal:
        return Look(unread=f"it cannot be written again: {found.refusal}", has_text=True)
    return Look(unread=ELSEWHERE, has_text=True) if found.is_elsewhere else Look(rows=found.rows)


def _reason(error: Exception, subjects: list[Matching]) -> str:
    """The first line of an error, without the values of people."""
    reason = str(error).strip().split("\n", 1)[0]
    for subject in subjects:
        if subject.is_telling:
            reason = reason.replace(subject.text, "...")
    return reason
