"""A label set: a table with one row for each item and labeller, as CSV or Parquet."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from treadle.data.engine import query_engine
from treadle.data.table_files import as_written
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.escaping import sql_name
from treadle.kernel.files import write_whole
from treadle.stats.votes import Votes

OPTIONAL = ("at", "seconds")
MOST_CELLS = 1 << 27
"""Items times classes whose counts take a gigabyte."""
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class Columns(NamedTuple):
    """Names of the columns that every label set has.

    Attributes:
        item: What is labelled.
        labeller: Who has labelled it.
        label: The label.
    """

    item: str = "item"
    labeller: str = "labeller"
    label: str = "label"


class LabelRow(NamedTuple):
    """A label of an item by a labeller.

    Attributes:
        item: The item.
        labeller: The labeller.
        label: The label; empty where the labeller gave none.
        at: When it was given, in ISO 8601; empty if unknown. Without an offset it is in UTC.
        seconds: How long the labeller took; None if unknown.
    """

    item: str
    labeller: str
    label: str
    at: str = ""
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Labels that count, one of a labeller for an item.

    Attributes:
        items: The items, in the order of their first row.
        labellers: The labellers, by name.
        classes: The classes: as declared, else numbers in their order or texts by name.
        votes: The labels as positions.
        missing: How many rows have no label.
        replaced: How many labels a later one of the same item and labeller replaces.
    """

    items: list[str]
    labellers: list[str]
    classes: list[str]
    votes: Votes
    missing: int
    replaced: int


def read_label_set(
    file: Path, columns: Columns | None = None, classes: Sequence[str] = ()
) -> LabelSet:
    """Read a label set.

    Args:
        file: CSV or Parquet with a column for item, labeller and label; ``at`` and ``seconds`` are
            optional.
        columns: The names of the columns.
        classes: The classes in their order; empty takes those that occur.

    Raises:
        NotFound: There is no such file.
        Invalid: The file cannot be read, a column is missing, a value is none of its column, or a
            label is not among the classes.
    """
    return label_set(read_rows(file, columns), classes)


def read_rows(file: Path, columns: Columns | None = None) -> list[LabelRow]:
    """Read the rows of a label set as they are, those without a label as well.

    Args:
        file: CSV or Parquet, as for ``read_label_set``.
        columns: The names of the columns.

    Raises:
        NotFound: There is no such file.
        Invalid: The file cannot be read, a column is missing, or a value is none of its column.
    """
    import duckdb  # late, as in treadle.data.engine

    columns = columns or Columns()
    if not file.is_file():
        raise NotFound(f"There is no file '{file}'. Name a CSV or Parquet file.")
    with query_engine() as connection:
        try:
            relation = connection.sql(f"SELECT * FROM {as_written(file)}")
            names = list(relation.columns)
            for role, name in zip(Columns._fields, columns, strict=True):
                _require(name, names, file, f"--{role}")
            wanted = [*columns, *(name if name in names else None for name in OPTIONAL)]
            fields = [
                f"coalesce({sql_name(name)}::VARCHAR, '')" if name else "''" for name in wanted
            ]
            rows = relation.project(", ".join(fields)).fetchall()
        except duckdb.Error as error:
            raise Invalid(
                f"'{file}' cannot be read as CSV or Parquet: {str(error).splitlines()[0]}"
            ) from error
    return [_row(number, row, columns) for number, row in enumerate(rows, 1)]


def label_set(rows: Iterable[LabelRow], classes: Sequence[str] = ()) -> LabelSet:
    """Make a label set of rows. Of several labels of an item by a labeller the latest counts.

    The latest is the one with the latest ``at``; without times the later row.

    Args:
        rows: The rows; those without a label are counted and left out.
        classes: The classes in their order; empty takes those that occur.

    Raises:
        Invalid: A label is not among the classes, no row has a label, or there are more classes
            than can be counted.
    """
    latest: dict[tuple[str, str], LabelRow] = {}
    missing = replaced = 0
    for row in rows:
        if not row.label:
            missing += 1
            continue
        before = latest.get((row.item, row.labeller))
        replaced += before is not None
        if before is None or moment(row.at) >= moment(before.at):
            latest[row.item, row.labeller] = row
    if not latest:
        raise Invalid("No row has a label. A label set needs one row for each item and labeller.")
    known = list(classes) or in_order({row.label for row in latest.values()})
    for row in latest.values():
        if classes and row.label not in known:
            raise Invalid(
                f"'{row.label}', the label of item '{row.item}' by '{row.labeller}', is none of "
                f"the classes.{did_you_mean(row.label, known)}"
            )
    items = list(dict.fromkeys(row.item for row in latest.values()))
    if len(items) * len(known) > MOST_CELLS:
        raise Invalid(
            f"{len(known):,} different labels of {len(items):,} items are too many to count. "
            "Labels are classes, or numbers with few levels: round them, or merge some."
        )
    labellers = in_order({row.labeller for row in latest.values()})
    votes = Votes(
        _places([row.item for row in latest.values()], items),
        _places([row.labeller for row in latest.values()], labellers),
        _places([row.label for row in latest.values()], known),
        len(items),
        len(labellers),
        len(known),
    )
    return LabelSet(items, labellers, known, votes, missing, replaced)


def write_rows(file: Path, rows: Sequence[LabelRow]) -> None:
    """Write a label set as CSV; ``at`` and ``seconds`` are columns only where a row has them.

    Args:
        file: The CSV file, which is replaced as a whole if there is one.
        rows: The rows.

    Raises:
        Invalid: The file is none of CSV, or its folder is not there.
    """
    optional = [
        name for name in OPTIONAL if any(getattr(row, name) not in ("", None) for row in rows)
    ]
    names = [*Columns._fields, *optional]
    write_csv(file, names, ([getattr(row, name) for name in names] for row in rows))


def write_csv(file: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV.

    Args:
        file: The CSV file, which is replaced as a whole if there is one.
        names: The names of the columns.
        rows: The values of each row; None is an empty cell, truth values are true and false.

    Raises:
        Invalid: The file is none of CSV, or its folder is not there.
    """
    if file.suffix.lower() != ".csv":
        raise Invalid(f"'{file}' is no CSV file. Name one that ends in .csv.")
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(names)
    writer.writerows(
        [str(cell).lower() if cell is True or cell is False else cell for cell in row]
        for row in rows
    )
    write_file(file, written.getvalue().encode())


def write_file(file: Path, content: bytes) -> None:
    """Write a file, whose folder must be there.

    Args:
        file: The file, which is replaced as a whole if there is one.
        content: The content.

    Raises:
        Invalid: Its folder is not there.
    """
    if not file.absolute().parent.is_dir():
        raise Invalid(f"There is no folder '{file.absolute().parent}'. Make it first.")
    write_whole(file, content)


def in_order(names: Iterable[str]) -> list[str]:
    """Put names in order: as numbers if all of them are, else by their text.

    Args:
        names: Names of classes or labellers, each once.
    """
    listed = sorted(names)
    numbers = [as_number(name) for name in listed]
    if None in numbers:
        return listed
    return [name for _, name in sorted(zip(numbers, listed, strict=True))]


def as_number(name: str) -> float | None:
    """Read a name as a finite number.

    Args:
        name: Any text.

    Returns:
        None where it is none.
    """
    try:
        number = float(name)
    except ValueError:
        return None
    return number if isfinite(number) else None


def moment(at: str) -> datetime:
    """Read a moment, in UTC where it has no offset.

    Args:
        at: A moment in ISO 8601; the empty text is before all others.

    Raises:
        ValueError: It is none.
    """
    if not at:
        return _BEFORE_ALL
    read = datetime.fromisoformat(at)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _row(number: int, values: Sequence[str], columns: Columns) -> LabelRow:
    item, labeller, label, at, seconds = values
    if not (item and labeller):
        column = columns.labeller if item else columns.item
        raise Invalid(
            f"Row {number} has nothing in column '{column}'. Fill it in or remove the row."
        )
    try:
        moment(at)
    except ValueError:
        raise Invalid(
            f"Row {number}: '{at}' in column 'at' is no time. Write it as 2026-01-31T12:00:00Z."
        ) from None
    took = as_number(seconds) if seconds else None
    if seconds and (took is None or took < 0):
        raise Invalid(
            f"Row {number}: '{seconds}' in column 'seconds' is no duration. "
            "Write the seconds as a number, or leave it empty."
        )
    return LabelRow(item, labeller, label, at, took)


def _require(name: str, names: Sequence[str], file: Path, option: str) -> None:
    if name not in names:
        raise Invalid(
            f"There is no column '{name}' in '{file}'.{did_you_mean(name, names)} "
            f"Name the column with {option}."
        )


def _places(values: Iterable[str], known: Sequence[str]) -> Any:
    places = {name: place for place, name in enumerate(known)}
    return np.array([places[value] for value in values], dtype=np.int64)
