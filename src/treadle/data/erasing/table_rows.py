"""Finds a subject's rows in a file of any kind, and copies the file without them."""

import gzip
import mmap
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.engine import query_engine
from treadle.data.erasing.subject import Matching, Place, condition_over
from treadle.data.erasing.text_rows import redact_csv, redact_json, redact_json_lines
from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import one_file, sql_name, sql_text

LARGE_BYTES = 1 << 20
"""CSV files of this size are asked through DuckDB whether they have such rows at all."""
ELSEWHERE = "the value is in it, and not in that column"
_PARQUET = b"PAR1"
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
            count = _count(plain, kind, subjects)
            if count == 0 and kind != "parquet" and has_text(plain, subjects):
                return Look(unread=ELSEWHERE, has_text=True)
    except (Invalid, duckdb.Error, OSError, EOFError, ValueError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        return Look(unread=f"it cannot be read: {reason}", has_text=has_text(file, subjects))
    return Look(rows=1, whole=True) if count is None else Look(rows=count)


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
    with Unpacked(file, name) as plain:
        if kind == "parquet":
            return _redact_parquet(plain, subjects, to)
        with to.open("wb") as target:
            if not name.lower().endswith(".gz"):
                return _TEXTS[kind](plain, subjects, target) or 0
            with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed:
                return _TEXTS[kind](plain, subjects, packed) or 0


def has_text(file: Path, subjects: list[Matching]) -> bool:
    """Whether a value of some subjects is among a file's bytes, in UTF-8.

    Args:
        file: The file.
        subjects: The subjects; values of few characters are passed over.
    """
    values = [one.text.encode() for one in subjects if one.is_telling]
    if not values or not file.stat().st_size:
        return False
    with (
        file.open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        return any(mapped.find(value) >= 0 for value in values)


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


_TEXTS: dict[str, Any] = {
    "csv": redact_csv,
    "json lines": redact_json_lines,
    "json": redact_json,
}


def _kind_by_name(name: str) -> str:
    suffixes = [part.lower() for part in Path(name).suffixes[-2:]]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1], "") if suffixes else ""


def _count(file: Path, kind: str, subjects: list[Matching]) -> int | None:
    if kind == "parquet":
        with query_engine() as connection:
            where = where_in(connection, file, subjects)
            if not where:
                return 0
            query = f"SELECT count(*) FROM read_parquet(?) WHERE {where}"
            ((count,),) = connection.execute(query, [one_file(file)]).fetchall()
            return int(count)
    if kind == "csv" and file.stat().st_size >= LARGE_BYTES and not _may_have(file, subjects):
        return 0
    found: int | None = _TEXTS[kind](file, subjects)
    return found


def _may_have(file: Path, subjects: list[Matching]) -> bool:
    """Whether a large CSV file may have such a row: DuckDB reads it much faster than Python does.

    It may say yes of a file that has none, and never no of one that has.
    """
    import duckdb

    reader = (
        f"read_csv({sql_text(one_file(file))}, all_varchar = true, header = true, "
        "null_padding = true, strict_mode = true)"
    )
    try:
        with query_engine() as connection:
            relation = connection.sql(f"SELECT * FROM {reader}")
            tests = []
            for subject in subjects:
                for name in relation.columns:
                    if subject.is_column(name.removeprefix("\ufeff")):
                        tests.append(_maybe(sql_name(name), subject))
            if not tests or len(relation.columns) < 2:  # the delimiter may be another one
                return True
            query = f"SELECT 1 FROM {reader} WHERE {' OR '.join(tests)} LIMIT 1"
            return bool(connection.execute(query).fetchall())
    except duckdb.Error:
        return True


def _maybe(column: str, subject: Matching) -> str:
    number = subject.number
    is_text = f"{column} = {sql_text(subject.text)}"
    if number is None:
        return is_text
    return f"({is_text} OR TRY_CAST(trim({column}) AS DOUBLE) = CAST('{number}' AS DOUBLE))"


def _redact_parquet(file: Path, subjects: list[Matching], to: Path) -> int:
    with query_engine() as connection:
        where = where_in(connection, file, subjects)
        path = sql_text(one_file(file))
        known = connection.execute(
            f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({path})"
        ).fetchall()
        ((codec,),) = connection.execute(
            f"SELECT coalesce(any_value(compression), 'SNAPPY') FROM parquet_metadata({path})"
        ).fetchall()
        pairs = ", ".join(f"{sql_name(key)}: {sql_text(value)}" for key, value in known)
        metadata = f", KV_METADATA {{{pairs}}}" if known else ""
        connection.execute(
            f"COPY (SELECT * FROM read_parquet({path}) WHERE NOT ({where})) TO {sql_text(to)} "
            f"(FORMAT parquet, COMPRESSION {_codec(codec)}{metadata})"
        )
        query = (
            "SELECT (SELECT sum(num_rows) FROM parquet_file_metadata(?)) - "
            "(SELECT sum(num_rows) FROM parquet_file_metadata(?))"
        )
        ((removed,),) = connection.execute(query, [one_file(file), one_file(to)]).fetchall()
    return int(removed)


def _codec(found: str) -> str:
    return found if found in ("SNAPPY", "ZSTD", "GZIP", "BROTLI", "UNCOMPRESSED") else "ZSTD"


def where_in(connection: Any, file: Path, subjects: list[Matching]) -> str:
    """Write the condition that a row of a Parquet file is one of some subjects', in SQL.

    Args:
        connection: A connection of the query engine.
        file: The file.
        subjects: The subjects.

    Returns:
        The condition; empty where the file has none of the columns.
    """
    relation = connection.sql(f"SELECT * FROM read_parquet({sql_text(one_file(file))})")
    return condition_over(_places(relation), subjects)


def _places(relation: Any) -> list[Place]:
    """The columns of a relation, and the fields within those that are structures."""
    found: list[Place] = []

    def add(path: tuple[str, ...], sql: str, kind: Any) -> None:
        found.append(Place(path, sql, str(kind)))
        if kind.id == "struct":
            for name, inner in kind.children:
                add((*path, name.casefold()), f"{sql}.{sql_name(name)}", inner)

    for name, kind in zip(relation.columns, relation.types, strict=True):
        add((name.casefold(),), sql_name(name), kind)
    return found
