"""Takes rows out of CSV files; what stays keeps its bytes."""

import csv
import sys
from collections.abc import Iterator
from gzip import GzipFile
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from treadle.data.erasing.subject import Matching
from treadle.kernel.errors import Invalid

DELIMITERS = ",;\t|"
SAMPLE_ROWS = 20
"""Where the first row leaves open what the delimiter is, so many rows are asked."""
Written = IO[bytes] | GzipFile | None
"""Where to write what stays; None only counts."""

csv.field_size_limit(min(sys.maxsize, (1 << 63) - 1))


class Taken(NamedTuple):
    """What is left out of a file.

    Attributes:
        rows: How many rows or entries.
        is_whole: Whether nothing of the file would be left.
        is_deeper: Whether the value is within a row under the key's last name, and not at the key.
    """

    rows: int
    is_whole: bool = False
    is_deeper: bool = False


def redact_csv(
    file: Path, subjects: list[Matching], to: Written = None, delimiter: str = ""
) -> Taken:
    """Copy a CSV file without some rows. Its first row that is not empty names the columns.

    Args:
        file: The file.
        subjects: Whose rows are left out.
        to: Where to write the others, byte for byte.
        delimiter: What is between cells, where the first row has it; else it is guessed.

    Returns:
        How many rows are left out.

    Raises:
        Invalid: It is no text of single bytes, or a quote in it is not closed.
    """
    removed, wanted = 0, None
    for cells, lines in _records(file, _delimiter(file, delimiter)):
        if wanted is None and any(cell.strip() for cell in cells):
            wanted = _wanted(cells, subjects)
            if not wanted and to is None:
                return Taken(0)
        elif any(
            place < len(cells) and subject.fits_text(_utf8(cells[place]))
            for place, subject in wanted or ()
        ):
            removed += 1
            continue
        if to is not None:
            to.write(lines.encode("latin-1"))
    return Taken(removed)


def _wanted(names: list[str], subjects: list[Matching]) -> list[tuple[int, Matching]]:
    """The columns of subjects: positions with the subject."""
    plain = [_utf8(name).removeprefix("\ufeff") for name in names]
    return [
        (place, subject)
        for place, name in enumerate(plain)
        for subject in subjects
        if subject.is_column(name)
    ]


def _records(file: Path, delimiter: str) -> Iterator[tuple[list[str], str]]:
    """The rows of a CSV file, each with the lines that it was read from."""
    lines: list[str] = []
    end = "end"

    def fed() -> Iterator[str]:
        with file.open(encoding="latin-1", newline="") as text:  # keeps every byte
            for line in text:
                lines.append(line)
                yield line
        lines.append(end)
        yield end

    for cells in csv.reader(fed(), delimiter=delimiter):
        if len(lines) > 1:
            _refuse_open_quotes(lines, delimiter, is_last=lines[-1] is end)
        elif lines[-1] is end:
            return
        yield cells, "".join(lines)
        lines.clear()


def _refuse_open_quotes(lines: list[str], delimiter: str, *, is_last: bool) -> None:
    """Refuse a row of several lines that a quote which is not closed has made: it hides rows."""
    try:
        if is_last:
            raise csv.Error
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise Invalid("a quote in it is not closed, so that rows cannot be told apart") from error


def _delimiter(file: Path, preferred: str) -> str:
    """The delimiter of a file: of those in the first row, the one by which most rows agree."""
    with file.open(encoding="latin-1", newline="") as text:
        first = text.readline()
        if first.startswith(("ÿþ", "þÿ")) or "\0" in first:
            raise Invalid("it is no text in UTF-8 or in another code of single bytes")
        while first and not first.strip():
            first = text.readline()
    outside = "".join(first.split('"')[::2])
    if preferred and preferred in outside:
        return preferred
    candidates = [one for one in DELIMITERS if one in outside] or [DELIMITERS[0]]
    if len(candidates) == 1:
        return candidates[0]

    def agreeing(one: str) -> int:
        records = (cells for cells, _ in _records(file, one) if any(map(str.strip, cells)))
        try:
            names, *rows = islice(records, SAMPLE_ROWS + 1)
        except Invalid:
            return -1
        return sum(len(row) == len(names) for row in rows)

    return max(candidates, key=lambda one: (agreeing(one), outside.count(one)))


def _utf8(cell: str) -> str:
    return cell if cell.isascii() else cell.encode("latin-1").decode("utf-8", "replace")
