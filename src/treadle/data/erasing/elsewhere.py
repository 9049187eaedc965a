"""Looks for a subject's value where nothing is erased: other files of a home, and its records.

It is told of, and left: records are what happened, and logs of jobs are whatever code has said.
"""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import String, Table, func, select

from treadle.data.erasing.model import NotLookedInto
from treadle.data.erasing.subject import Matching
from treadle.data.erasing.table_rows import has_text
from treadle.data.tables import erasures
from treadle.ports.database import Database, metadata

_LOOKED_INTO = ("blobs", "treadle.db", "online.db", "erasing")
"""What of a home is looked into in another way, by how the name begins."""
_RECORDS = "records of what happened stay as they are"
_FILES = "it is no table of a dataset, a log or a step"


def in_files(home: Path, subjects: list[Matching]) -> Iterator[NotLookedInto]:
    """Yield the files of a home that have a value of some subjects among their bytes.

    Args:
        home: The home's folder.
        subjects: The subjects.
    """
    texts = [one for one in subjects if one.is_telling]
    for path in sorted(home.rglob("*")) if texts else ():
        place = path.relative_to(home)
        looked_into = place.parts[0].startswith(_LOOKED_INTO) or "log" in place.parts[2:3]
        if looked_into or path.is_symlink() or not path.is_file():
            continue
        try:
            found = has_text(path, texts)
        except OSError:
            continue  # it is gone, or is no file that can be read
        if found:
            yield NotLookedInto(what=f"file {place}", why=_FILES, has_value=True)


def in_records(database: Database, subjects: list[Matching]) -> Iterator[NotLookedInto]:
    """Yield the columns of the home's tables that have a value of some subjects in a text.

    Args:
        database: Where the records are.
        subjects: The subjects.
    """
    texts = [one.text for one in subjects if one.is_telling]
    if not texts:
        return
    for table in metadata.sorted_tables:
        if table is not erasures:
            yield from _in_table(database, table, texts)


def _in_table(database: Database, table: Table, texts: list[str]) -> Iterator[NotLookedInto]:
    columns = [column for column in table.c if isinstance(column.type, String)]
    if not columns:
        return
    counts = []
    for column in columns:
        has = column.contains(texts[0], autoescape=True)
        for text in texts[1:]:
            has |= column.contains(text, autoescape=True)
        counts.append(func.count().filter(has))
    with database.read() as connection:
        found = connection.execute(select(*counts).select_from(table)).one()
    for column, rows in zip(columns, found, strict=True):
        if rows:
            what = f"rows of table '{table.name}' (column '{column.name}')"
            yield NotLookedInto(what=what, why=_RECORDS, files=rows, has_value=True)
