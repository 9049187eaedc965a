"""Takes rows out of CSV and JSON files; what stays of a CSV or JSON Lines file keeps its bytes."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from treadle.data.erasing.subject import Matching
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid

DELIMITERS = ",;\t|"
MOST_JSON_BYTES = 512 << 20
"""A JSON document is read into memory as a whole, up to this size."""
Written = IO[bytes] | None
"""Where to write what stays; None only counts."""

csv.field_size_limit(min(sys.maxsize, (1 << 63) - 1))


def redact_csv(file: Path, subjects: list[Matching], to: Written = None) -> int:
    """Copy a CSV file without some rows. Its first row names the columns.

    Args:
        file: The file.
        subjects: Whose rows are left out.
        to: Where to write the others, byte for byte.

    Returns:
        The number of rows that are left out.

    Raises:
        Invalid: It is no text of single bytes.
    """
    removed, wanted = 0, None
    with file.open(encoding="latin-1", newline="") as text:  # keeps every byte
        head = text.readline()
        if head.startswith(("ÿþ", "þÿ")) or "\0" in head:
            raise Invalid("it is no text in UTF-8 or in another code of single bytes")
        text.seek(0)
        for cells, lines in _records(text, _delimiter(head)):
            if wanted is None:
                wanted = _wanted(cells, subjects)
                if not wanted and to is None:
                    return 0
            elif any(
                place < len(cells) and subject.fits_text(_utf8(cells[place]))
                for place, subject in wanted
            ):
                removed += 1
                continue
            if to is not None:
                to.write(lines.encode("latin-1"))
    return removed


def redact_json_lines(file: Path, subjects: list[Matching], to: Written = None) -> int:
    """Copy a file of one JSON value a line without some lines, or entries of their lists.

    Args:
        file: The file.
        subjects: Whose rows are left out.
        to: Where to write the others; a line in which nothing is left out keeps its bytes.

    Returns:
        The number of lines and entries that are left out.

    Raises:
        Invalid: A line is no JSON.
    """
    removed = 0
    with file.open("rb") as lines:
        for line in lines:
            if not line.strip():
                left: bytes | None = line
            else:
                value, count = redacted(_json(line), subjects)
                removed += count
                left = line if not count else None if value is GONE else _dumped(value) + b"\n"
            if to is not None and left is not None:
                to.write(left)
    return removed


def redact_json(file: Path, subjects: list[Matching], to: Written = None) -> int | None:
    """Copy a JSON document without some entries of its lists.

    Args:
        file: The file.
        subjects: Whose rows are left out.
        to: Where to write the rest.

    Returns:
        The number of entries that are left out; None where the whole document is one of theirs.

    Raises:
        Invalid: It is no JSON, or larger than memory should hold.
    """
    if file.stat().st_size > MOST_JSON_BYTES:
        raise Invalid(f"it is a JSON document of more than {MOST_JSON_BYTES >> 20} MiB")
    content = file.read_bytes()
    value, count = redacted(_json(content), subjects)
    if value is GONE:
        return None
    if to is not None:
        to.write(_dumped(value, indent=2 if b"\n" in content[:200] else None) if count else content)
    return count


GONE = object()
"""Stands for a value of which nothing is left."""


def redacted(value: Any, subjects: list[Matching]) -> tuple[Any, int]:
    """Take entries of some subjects out of a value as JSON has it.

    What goes is the innermost entry of a list, or of a mapping of records, that has the value in
    it; the whole where there is no such entry. Tables by columns lose the row in each column.

    Args:
        value: The value.
        subjects: The subjects.

    Returns:
        The value without them, or ``GONE``; and the number of entries that were taken out.
    """
    return _within(value, subjects, ())


def _within(value: Any, subjects: list[Matching], path: tuple[str, ...]) -> tuple[Any, int]:
    if isinstance(value, list):
        return _list(value, subjects, path)
    if not isinstance(value, dict):
        return (GONE, 1) if _is_subject(path, value, subjects) else (value, 0)
    rows = _rows_of(value, subjects)
    if rows is not None:
        return _without_rows(value, rows), len(rows)
    left, count = {}, 0
    as_records = _are_records(value)
    for key, item in value.items():
        below = () if as_records else (*path, key.casefold())
        kept, removed = _within(item, subjects, below)
        count += removed
        if kept is not GONE:
            left[key] = kept
        elif not as_records:
            return GONE, 1
    return left, count


def _list(value: list[Any], subjects: list[Matching], path: tuple[str, ...]) -> tuple[Any, int]:
    left, count = [], 0
    for item in value:
        kept, removed = _within(item, subjects, path)
        count += removed
        if kept is not GONE:
            left.append(kept)
    return left, count


def _is_subject(path: tuple[str, ...], value: object, subjects: list[Matching]) -> bool:
    """Whether a value is at the end of a subject's path and equals it."""
    for subject in subjects:
        length = len(subject.path)
        is_there = path[-length:] == subject.path or path[-1:] == (".".join(subject.path),)
        logged = path[-1:] and path[-1] in subject.names
        if (is_there or logged) and subject.fits(value):
            return True
    return False


def _are_records(value: dict[str, Any]) -> bool:
    """Whether a mapping holds several values of one form, such as people by their number."""
    if len(value) < 2 or not all(isinstance(one, dict) for one in value.values()):
        return False
    first = next(iter(value.values())).keys()
    return all(one.keys() == first for one in value.values())


def _rows_of(value: dict[str, Any], subjects: list[Matching]) -> set[Any] | None:
    """The rows to take out of a table by columns; None where it is none, or has none of them."""
    columns, data = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(data, list):  # pandas' "split"
        places = [
            (place, subject)
            for place, name in enumerate(columns)
            for subject in subjects
            if subject.is_column(str(name))
        ]
        rows = {
            row
            for row, cells in enumerate(data)
            for place, subject in places
            if isinstance(cells, list) and place < len(cells) and subject.fits(cells[place])
        }
        return rows or None
    if not _is_by_columns(value):
        return None
    found: set[Any] = set()
    for name, cells in value.items():
        for subject in subjects:
            if subject.is_column(name):
                pairs = cells.items() if isinstance(cells, dict) else enumerate(cells)
                found |= {row for row, cell in pairs if subject.fits(cell)}
    return found or None


def _is_by_columns(value: dict[str, Any]) -> bool:
    """Whether all values are lists of one length, or mappings with one set of keys to scalars."""
    cells = list(value.values())
    if not cells:
        return False
    if all(isinstance(one, list) for one in cells):
        return len({len(one) for one in cells}) == 1
    return _are_scalars(cells)


def _are_scalars(cells: list[Any]) -> bool:
    if not all(isinstance(one, dict) for one in cells):
        return False
    same = all(one.keys() == cells[0].keys() for one in cells)
    plain = all(not isinstance(each, dict | list) for one in cells for each in one.values())
    return same and plain and all(key.isdigit() for key in cells[0])


def _without_rows(value: dict[str, Any], rows: set[Any]) -> dict[str, Any]:
    def cut(cells: Any) -> Any:
        if isinstance(cells, dict):
            return {row: cell for row, cell in cells.items() if row not in rows}
        return [cell for row, cell in enumerate(cells) if row not in rows]

    if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        of_rows = {"data", "index"} & {key for key, one in value.items() if isinstance(one, list)}
        return {key: cut(one) if key in of_rows else one for key, one in value.items()}
    return {key: cut(one) for key, one in value.items()}


def _wanted(names: list[str], subjects: list[Matching]) -> list[tuple[int, Matching]]:
    """The columns of subjects: positions with the subject."""
    plain = [_utf8(name).removeprefix("\ufeff") for name in names]
    return [
        (place, subject)
        for place, name in enumerate(plain)
        for subject in subjects
        if subject.is_column(name)
    ]


def _records(text: Iterable[str], delimiter: str) -> Iterator[tuple[list[str], str]]:
    """The rows of a CSV file, each with the lines that it was read from."""
    lines: list[str] = []

    def fed() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    for cells in csv.reader(fed(), delimiter=delimiter):
        yield cells, "".join(lines)
        lines.clear()


def _delimiter(head: str) -> str:
    """The delimiter of which the first line has the most."""
    return max(DELIMITERS, key=lambda one: (head.count(one), -DELIMITERS.index(one)))


def _utf8(cell: str) -> str:
    return cell if cell.isascii() else cell.encode("latin-1").decode("utf-8", "replace")


def _json(content: bytes) -> Any:
    try:
        return from_json(content, object)
    except Invalid:
        pass
    try:
        return json.loads(content)  # takes NaN and infinities
    except (ValueError, RecursionError) as error:
        raise Invalid(f"it is no JSON: {error}") from error


def _dumped(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()
