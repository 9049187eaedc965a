"""Finds a subject's rows in Parquet files, and copies the files without them."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from treadle.data.engine import query_engine
from treadle.data.erasing.subject import Matching, Place, condition_over
from treadle.kernel.escaping import one_file, sql_name, sql_text

_CODECS = ("SNAPPY", "ZSTD", "GZIP", "BROTLI", "UNCOMPRESSED")
_NESTED = ("struct", "list", "map", "array", "union")


class ParquetLook(NamedTuple):
    """What a Parquet file holds of some subjects.

    Attributes:
        rows: How many of its rows are theirs.
        refusal: Why it cannot be written again as it was; empty where it can.
        is_elsewhere: Whether it has none of their rows, and a value of theirs somewhere else.
    """

    rows: int = 0
    refusal: str = ""
    is_elsewhere: bool = False


def look_into(file: Path, subjects: list[Matching]) -> ParquetLook:
    """Count a file's rows that are some subjects', and look for their values elsewhere.

    Args:
        file: The file.
        subjects: The subjects.
    """
    with query_engine() as connection:
        rows = _count(connection, file, where_in(connection, file, subjects))
        if rows:
            return ParquetLook(rows, _refusal(connection, file))
        elsewhere = _elsewhere(_relation(connection, file), subjects)
        return ParquetLook(is_elsewhere=_count(connection, file, elsewhere) > 0)


def redact(file: Path, subjects: list[Matching], to: Path) -> int:
    """Copy a file without the rows of some subjects.

    Args:
        file: A file that can be written again.
        subjects: The subjects.
        to: Where to write the copy.

    Returns:
        The number of rows that were left out.
    """
    import duckdb  # late, as in treadle.data.engine

    with duckdb.connect() as connection:  # its settings are for all connections of an engine
        if any(one.is_nullable for one in _top_level(connection, file)):
            # else columns that happen to have no NULL are declared as having none
            connection.execute("SET disabled_optimizers = 'statistics_propagation'")
        where = where_in(connection, file, subjects)
        path = sql_text(one_file(file))
        ((codec,),) = connection.execute(
            f"SELECT coalesce(any_value(compression), 'SNAPPY') FROM parquet_metadata({path})"
        ).fetchall()
        connection.execute(
            f"COPY (SELECT {_columns(connection, file)} FROM {_reader(file)} "
            f"WHERE NOT ({where})) TO {sql_text(to)} (FORMAT parquet, "
            f"COMPRESSION {codec if codec in _CODECS else 'ZSTD'}{_metadata(connection, file)})"
        )
        query = (
            "SELECT (SELECT sum(num_rows) FROM parquet_file_metadata(?)) - "
            "(SELECT sum(num_rows) FROM parquet_file_metadata(?))"
        )
        ((removed,),) = connection.execute(query, [one_file(file), one_file(to)]).fetchall()
    return int(removed)


def where_in(connection: Any, file: Path, subjects: list[Matching]) -> str:
    """Write the condition that a row of a Parquet file is one of some subjects', in SQL.

    Args:
        connection: A connection of the query engine.
        file: The file.
        subjects: The subjects.

    Returns:
        The condition; empty where the file has none of the columns.
    """
    return condition_over(_places(_relation(connection, file)), subjects)


def _reader(file: Path) -> str:
    return f"read_parquet({sql_text(one_file(file))}, hive_partitioning = false)"


def _relation(connection: Any, file: Path) -> Any:
    return connection.sql(f"SELECT * FROM {_reader(file)}")


def _count(connection: Any, file: Path, where: str) -> int:
    if not where:
        return 0
    query = f"SELECT count(*) FROM {_reader(file)} WHERE {where}"
    ((found,),) = connection.execute(query).fetchall()
    return int(found)


class _Column(NamedTuple):
    """A column as a file declares it: its name, its logical type, and whether it may have NULL."""

    name: str
    logical: str
    is_nullable: bool


def _top_level(connection: Any, file: Path) -> list[_Column]:
    """The columns of a file, without the fields within them."""
    query = "SELECT name, num_children, logical_type, repetition_type FROM parquet_schema(?)"
    (_, *rows) = connection.execute(query, [one_file(file)]).fetchall()
    found, inner = [], 0
    for name, children, logical, repetition in rows:
        if inner == 0:
            found.append(_Column(name, logical or "", repetition == "OPTIONAL"))
        else:
            inner -= 1
        inner += children or 0
    return found


def _columns(connection: Any, file: Path) -> str:
    """The columns to select, so that times keep their unit."""

    def one(name: str, logical: str) -> str:
        column = sql_name(name)
        is_local = logical.startswith("TimestampType(isAdjustedToUTC=0")
        is_millis = is_local and "MILLIS=MilliSeconds" in logical
        return f"CAST({column} AS TIMESTAMP_MS) AS {column}" if is_millis else column

    return ", ".join(one(name, logical) for name, logical, _ in _top_level(connection, file))


def _pairs(connection: Any, file: Path) -> list[tuple[bytes, bytes]]:
    query = "SELECT key, value FROM parquet_kv_metadata(?)"
    return [
        (bytes(key), bytes(value or b""))
        for key, value in connection.execute(query, [one_file(file)]).fetchall()
    ]


def _metadata(connection: Any, file: Path) -> str:
    """The file's own metadata as an option of ``COPY``, byte for byte."""
    pairs = ", ".join(
        f"{sql_name(key.decode())}: unhex('{value.hex()}')"
        for key, value in _pairs(connection, file)
    )
    return f", KV_METADATA {{{pairs}}}" if pairs else ""


def _refusal(connection: Any, file: Path) -> str:
    """Why a file cannot be written again as it was; empty where it can."""
    if [one.name for one in _top_level(connection, file)] != _relation(connection, file).columns:
        return "names of its columns repeat or differ by case only"
    try:
        keys = [key.decode() for key, _ in _pairs(connection, file)]
    except UnicodeDecodeError:
        return "a key of its metadata is no text"
    if "" in keys or len({key.casefold() for key in keys}) != len(keys):
        return "keys of its metadata repeat, are empty or differ by case only"
    return ""


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


def _elsewhere(relation: Any, subjects: list[Matching]) -> str:
    """The condition that a value is in another text, or within a column under the key's last name.

    Returns:
        The condition; empty where no column can have one.
    """
    found = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        column = sql_name(name)
        for subject in subjects:
            if kind.id in _NESTED:
                found += _within(column, kind, subject, count())
            is_text = kind.id == "varchar" or (kind.id in _NESTED and "VARCHAR" in str(kind))
            if subject.is_telling and is_text:
                found.append(f"contains(CAST({column} AS VARCHAR), {sql_text(subject.text)})")
    return " OR ".join(f"coalesce({one}, false)" for one in found)


def _within(sql: str, kind: Any, subject: Matching, numbers: Iterator[int]) -> list[str]:
    """The conditions that a field at any depth has the key's last name, and the value."""
    last = subject.path[-1]
    found = []
    if kind.id == "struct":
        for name, inner in kind.children:
            field = f"{sql}.{sql_name(name)}"
            if name.casefold() == last:
                found.append(subject.sql(field, str(inner)))
            found += _within(field, inner, subject, numbers)
    elif kind.id in ("list", "array"):
        one = f"each_{next(numbers)}"
        inner = next(child for name, child in kind.children if name == "child")
        for condition in _within(one, inner, subject, numbers):
            found.append(f"len(list_filter({sql}, lambda {one}: {condition})) > 0")
    elif kind.id == "map":
        one = f"each_{next(numbers)}"
        kinds = dict(kind.children)
        inner = kinds["value"]
        conditions = _within(f"{one}.value", inner, subject, numbers)
        if str(kinds["key"]) == "VARCHAR":
            value = subject.sql(f"{one}.value", str(inner))
            conditions.append(f"lower({one}.key) = {sql_text(last)} AND {value}")
        for condition in conditions:
            found.append(f"len(list_filter(map_entries({sql}), lambda {one}: {condition})) > 0")
    return found
