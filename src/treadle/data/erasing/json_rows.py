"""Takes rows out of JSON documents and JSON Lines: entries, and rows of tables by columns."""

from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.erasing.json_text import json_text, json_value
from treadle.data.erasing.subject import Matching
from treadle.data.erasing.text_rows import Taken, Written
from treadle.kernel.errors import Invalid

MOST_JSON_BYTES = 64 << 20
"""A JSON document is read into memory as a whole, up to this size."""
GONE = object()
"""Stands for a value of which nothing is left."""
_MOST_NAMES, _LONGEST_LINE = 10_000, 1 << 20


def redact_json_lines(file: Path, subjects: list[Matching], to: Written = None) -> Taken:
    """Copy a file of one JSON value a line without some lines, or entries of their lists.

    Args:
        file: The file.
        subjects: Whose rows are left out.
        to: Where to write the others; a line in which nothing is left out keeps its bytes.

    Returns:
        How many lines and entries are left out.

    Raises:
        Invalid: A line is no JSON.
    """
    removed, cut = 0, Cut(subjects)
    with file.open("rb") as lines:
        for line in lines:
            left: bytes | None = line
            if line.strip():
                value, count = cut.line(json_value(line))
                removed += count
                if count:
                    left = None if value is GONE else json_text(value) + b"\n"
            if to is not None and left is not None:
                to.write(left)
    return Taken(removed, is_deeper=cut.is_deeper)


def redact_json(file: Path, subjects: list[Matching], to: Written = None) -> Taken:
    """Copy a JSON document without some entries of its lists.

    Args:
        file: The file; one with a JSON value in each line is taken for JSON Lines.
        subjects: Whose rows are left out.
        to: Where to write the rest; of a document that is one of theirs, an empty one is left.

    Returns:
        How many entries are left out.

    Raises:
        Invalid: It is no JSON, or larger than memory should hold.
    """
    is_large = file.stat().st_size > MOST_JSON_BYTES
    if is_large and not _are_lines(file):
        raise Invalid(f"it is a JSON document of more than {MOST_JSON_BYTES >> 20} MiB")
    if is_large:
        return redact_json_lines(file, subjects, to)
    content, cut = file.read_bytes(), Cut(subjects)
    try:
        before = json_value(content)
    except Invalid:
        if not _are_lines(file):
            raise
        return redact_json_lines(file, subjects, to)
    value, count = cut.document(before)
    if to is not None:
        left = type(before)() if value is GONE and isinstance(before, dict | list) else value
        indent = 2 if b"\n" in content[:200] else None
        to.write(json_text(None if left is GONE else left, indent) if count else content)
    return Taken(count, is_whole=value is GONE, is_deeper=cut.is_deeper)


def _are_lines(file: Path) -> bool:
    """Whether the first two lines with anything in them are JSON values by themselves."""
    with file.open("rb") as content:
        found = 0
        while found < 2:
            line = content.readline(_LONGEST_LINE)
            if not line:
                return False
            if line.strip():
                try:
                    json_value(line)
                except Invalid:
                    return False
                found += 1
    return True


class _At(NamedTuple):
    """Where in a JSON value something is.

    Attributes:
        path: The names that lead to it, in small letters; entries of lists add none.
        starts: The lengths of the path at which a record begins.
        records: How many levels from here on may be mappings of records.
        is_entry: Whether it is within a record: an entry of a list, or a line.
        closed: Keys of subjects that a record around it has itself: they mean that one.
    """

    path: tuple[str, ...] = ()
    starts: tuple[int, ...] = (0,)
    records: int = 0
    is_entry: bool = True
    closed: frozenset[Matching] = frozenset()

    def below(self, name: str) -> "_At":
        """The value of a name."""
        path = (*self.path, name.casefold())
        records = max(0, self.records - 1)
        return _At(path, self.starts, records, self.is_entry, self.closed)

    def record(self, *, is_entry: bool, records: int = 0) -> "_At":
        """A record that begins here."""
        is_new = self.starts[-1] != len(self.path)
        starts = (*self.starts, len(self.path)) if is_new else self.starts
        return _At(self.path, starts, records, is_entry, self.closed)


class _SubjectsOf(dict[str, list[Matching]]):
    """The subjects whose key ends with a name; what was asked is kept, up to a number of names."""

    def __init__(self, named: dict[str, list[Matching]]) -> None:
        super().__init__()
        self._named = named

    def __missing__(self, key: str) -> list[Matching]:
        if len(self) >= _MOST_NAMES:
            self.clear()
        name = key.casefold()
        found = [*self._named.get(name, ())]
        if "." in name:
            found += self._named.get(name.rpartition(".")[2], ())
        self[key] = found
        return found


class Cut:
    """Takes entries of some subjects out of values as JSON has them.

    A key is a name at the top of a record, or a path with dots from there. Records are the whole,
    the entries of lists, and the values of a mapping at the top of a document. Where a record has
    the key itself, entries of lists within it are not meant. What goes is the innermost record;
    tables by columns lose the row in each column.

    Args:
        subjects: The subjects.

    Attributes:
        is_deeper: Whether a value was met that has the key's last name, and is somewhere else.
    """

    def __init__(self, subjects: list[Matching]) -> None:
        self.is_deeper = False
        named: dict[str, list[Matching]] = {}
        for subject in subjects:
            for name in {*subject.names, *(one.split(".")[-1] for one in subject.names)}:
                named.setdefault(name, []).append(subject)
        self._subjects = _SubjectsOf(named)

    def line(self, value: Any) -> tuple[Any, int]:
        """Take entries out of a line's value, which is one record.

        Args:
            value: The value.

        Returns:
            What is left, or ``GONE``; and the number of entries that were taken out.
        """
        return self._within(value, _At())

    def document(self, value: Any) -> tuple[Any, int]:
        """Take entries out of a document's value, which may be a mapping of records.

        Args:
            value: The value.

        Returns:
            What is left, or ``GONE``; and the number of entries that were taken out.
        """
        return self._within(value, _At(records=2, is_entry=False))

    def _within(self, value: Any, at: _At) -> tuple[Any, int]:
        if isinstance(value, dict):
            return self._dict(value, at)
        return self._list(value, at) if isinstance(value, list) else (value, 0)

    def _list(self, value: list[Any], at: _At) -> tuple[Any, int]:
        if not any(isinstance(item, dict | list) for item in value):
            return (GONE, 1) if any(self._is_subjects(item, at) for item in value) else (value, 0)
        left, count = [], 0
        entry = at.record(is_entry=True)
        for item in value:
            kept, removed = self._within(item, entry)
            if kept is GONE and isinstance(item, list):
                return GONE, 1
            if self._is_subjects(item, at):
                return GONE, 1
            count += removed
            if kept is not GONE:
                left.append(kept)
        return left, count

    def _dict(self, value: dict[str, Any], at: _At) -> tuple[Any, int]:
        keys = [key for key in value if self._subjects[key]]
        value, count = self._without_rows(value, keys, at)
        if value is GONE:
            return GONE, 1
        if at.records and _are_records(value):
            left, removed = self._mapping(value, at)
            return left, count + removed
        for key in keys:
            item = value[key]
            fits = any(one.fits(item) for one in self._subjects[key])
            if fits and self._is_subjects(item, at.below(key)):
                return GONE, 1
        inner: _At | None = None if keys else at
        left = {}
        for key, item in value.items():
            kept = item
            if isinstance(item, dict | list):
                inner = inner or self._closing(keys, at)
                # a list of plain values under the record's own key is still that key's
                around = (
                    at
                    if key in keys
                    and isinstance(item, list)
                    and all(type(one) is not dict for one in item)
                    else inner
                )
                kept, removed = self._within(item, around.below(key))
                if kept is GONE:
                    return GONE, 1
                count += removed
            left[key] = kept
        return left, count

    def _mapping(self, value: dict[str, Any], at: _At) -> tuple[dict[str, Any], int]:
        left, count = {}, 0
        for key, item in value.items():
            inner = at.below(key)
            record = inner.record(is_entry=len(value) > 1, records=inner.records)
            kept, removed = self._dict(item, record)
            count += removed
            if kept is not GONE:
                left[key] = kept
        return left, count

    def _closing(self, keys: list[str], at: _At) -> _At:
        """The place of what is within a record, where the record's own keys are known."""
        if at.starts[-1] != len(at.path):
            return at
        own = {one for key in keys for one in self._subjects[key] if one.is_column(key)}
        return _At(at.path, at.starts, at.records, at.is_entry, at.closed | own)

    def _is_subjects(self, value: object, at: _At) -> bool:
        """Whether a plain value is a subject's and stands where its key says."""
        if not at.path or isinstance(value, dict | list):
            return False
        for subject in self._subjects[at.path[-1]]:
            if subject.fits(value):
                if self._is_at(subject, at):
                    return True
                self.is_deeper = True
        return False

    def _is_at(self, subject: Matching, at: _At) -> bool:
        if subject in at.closed:
            return False
        return any(".".join(at.path[start:]) in subject.names for start in at.starts)

    def _without_rows(self, value: dict[str, Any], keys: list[str], at: _At) -> tuple[Any, int]:
        """Take rows out of tables by columns; all goes where the others' rows cannot be told."""
        split = self._split_rows(value) if "columns" in value else set()
        if split:
            of_rows = {"data", "index"} & {key for key in value if isinstance(value[key], list)}
            return _cut(value, of_rows, split), len(split)
        count = 0
        for name in keys:
            if not isinstance(value[name], dict | list):
                continue
            rows = self._rows(value[name], at.below(name))
            if not rows:
                continue
            columns = _columns_like(value, name)
            if not _is_table(value, columns, at.is_entry):
                if isinstance(value[name], list):
                    return GONE, 1
                continue
            value, count = _cut(value, columns, rows), count + len(rows)
        return value, count

    def _split_rows(self, value: dict[str, Any]) -> set[Any]:
        """The rows of a table as pandas' "split" writes it."""
        columns, data = value.get("columns"), value.get("data")
        if not isinstance(columns, list) or not isinstance(data, list):
            return set()
        wanted = [
            (place, subject)
            for place, name in enumerate(columns)
            for subject in self._subjects[str(name)]
            if subject.is_column(str(name))
        ]
        return {
            row
            for row, cells in enumerate(data)
            for place, subject in wanted
            if isinstance(cells, list) and place < len(cells) and subject.fits(cells[place])
        }

    def _rows(self, cells: Any, at: _At) -> set[Any]:
        """The rows of a column that are a subject's."""
        if not isinstance(cells, dict | list):
            return set()
        return {
            row
            for row, cell in (cells.items() if isinstance(cells, dict) else enumerate(cells))
            if self._is_subjects(cell, at)
        }


def _columns_like(value: dict[str, Any], name: str) -> set[str]:
    """The names of a mapping whose values have the same rows as one of them."""
    one = value[name]
    rows = one.keys() if isinstance(one, dict) else len(one)
    return {
        key
        for key, cells in value.items()
        if type(cells) is type(one)
        and (cells.keys() if isinstance(cells, dict) else len(cells)) == rows
    }


def _is_table(value: dict[str, Any], columns: set[str], is_entry: bool) -> bool:
    """Whether these columns are a table's, rather than a record's own lists."""
    cells = [value[name] for name in columns]
    if isinstance(cells[0], dict):
        if any(isinstance(each, dict | list) for one in cells for each in one.values()):
            return False
        if not all(key.isdigit() for key in cells[0]) and (is_entry or len(columns) < 2):
            return False
    if len(columns) == len(value):
        return True
    only_lists = all(isinstance(one, dict | list) for one in value.values())
    return len(columns) > 1 and (only_lists or not is_entry)


def _cut(value: dict[str, Any], columns: set[str], rows: set[Any]) -> dict[str, Any]:
    def without(cells: Any) -> Any:
        if isinstance(cells, dict):
            return {row: cell for row, cell in cells.items() if row not in rows}
        return [cell for row, cell in enumerate(cells) if row not in rows]

    return {key: without(one) if key in columns else one for key, one in value.items()}


def _are_records(value: dict[str, Any]) -> bool:
    """Whether all values of a mapping have one form, such as people by their number."""
    if not value or not all(isinstance(one, dict) for one in value.values()):
        return False
    first = next(iter(value.values())).keys()
    return all(one.keys() == first for one in value.values())
