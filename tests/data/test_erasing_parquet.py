"""Rows of a person in Parquet files are found by type, and the files keep their form."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from treadle.data.engine import query_engine
from treadle.data.erasing.subject import checked, parsed
from treadle.data.erasing.table_rows import ELSEWHERE, look_into, redact


def written(file: Path, select: str, options: str = "") -> None:
    with query_engine() as connection:
        connection.execute(f"COPY ({select}) TO '{file}' (FORMAT parquet{options})")


def rows_of(file: Path, select: str = "*") -> list[tuple[Any, ...]]:
    with query_engine() as connection:
        query = f"SELECT {select} FROM read_parquet('{file}', hive_partitioning = false)"
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("subject", "values", "rows"),
    [
        ("id=12345678901234567", "12345678901234567::DECIMAL(20,0), 12345678901234568", 1),
        ("id=0.10", "0.10::DECIMAL(38,2), 0.11", 1),
        ("id=0.101", "0.10::DECIMAL(38,2), 0.11", 0),
        ("id=0.1", "0.1::FLOAT, 0.2", 1),
        ("id=1E300", "1::FLOAT, 2", 0),
        (f"id={'9' * 45}", "1::BIGINT, 2", 0),
        (f"id={2**127}", "1::HUGEINT, 2", 0),
        (f"id={2**128 - 1}", f"{2**128 - 1}::UHUGEINT, 2", 1),
        ("id=-5", "5::UTINYINT, 6", 0),
        ("id=7", "[7.0, 8.0], [9.0]", 1),
        ("id=Zo\u00eb", "encode('Zo\u00eb'), encode('x')", 1),
        ("id.no=7", "{'no': 7}, {'no': 8}", 1),
    ],
)
def test_values_are_compared_in_the_columns_type(
    tmp_path: Path, subject: str, values: str, rows: int
) -> None:
    file, email = tmp_path / "a.parquet", "ada@x.example"
    written(file, f"SELECT unnest([{values}]) AS id, unnest([NULL, '{email}']) AS email")
    assert look_into(file, "a.parquet", checked([parsed(subject)])).rows == rows
    both = checked([parsed(subject), parsed(f"email={email}")])
    assert look_into(file, "a.parquet", both).rows == rows + 1


@pytest.mark.parametrize(
    ("subject", "column"),
    [
        ("email=a@x", "{'email': 'a@x'}"),
        ("email=a@x", "[{'email': 'a@x'}]"),
        ("no=7", "[{'of': [{'no': 7}]}]"),
        ("no=7", "MAP {'a': {'no': 7}}"),
        ("email=a@x", "MAP {'email': 'a@x'}"),
        ("email=ada@x.example", "'of ada@x.example'"),
        ("email=ada@x.example", "['of ada@x.example']"),
    ],
)
def test_values_elsewhere_are_reported(tmp_path: Path, subject: str, column: str) -> None:
    file, who = tmp_path / "a.parquet", checked([parsed(subject)])
    written(file, f"SELECT {column} AS who")
    assert look_into(file, "a.parquet", who) == (0, ELSEWHERE, True, False)
    written(file, f"SELECT {column} AS who WHERE false")
    assert look_into(file, "a.parquet", who) == (0, "", False, False)


@pytest.mark.parametrize("last", ["NULL, NULL, NULL", "9, 1.20, TIMESTAMP '2021-01-01'"])
def test_a_copy_keeps_columns_metadata_and_compression(tmp_path: Path, last: str) -> None:
    folder, who = tmp_path / "env=prod", checked([parsed("id=7")])
    folder.mkdir()
    file, packed, to = folder / "a.parquet", folder / "b", folder / "to"
    row = "1.10, TIMESTAMP '2020-01-01'"
    select = (
        "SELECT id, d::DECIMAL(5,2) AS d, t::TIMESTAMP_MS AS t "
        f"FROM (VALUES (7, {row}), (8, {row}), ({last})) AS rows(id, d, t)"
    )
    written(file, select, ", KV_METADATA {k: unhex('FFFE')}, COMPRESSION zstd")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert redact(packed, "a.parquet.gz", who, to) == 1
    packed.unlink()
    after = folder / "after.parquet"
    after.write_bytes(gzip.decompress(to.read_bytes()))
    assert sorted(folder.iterdir()) == sorted([file, to, after])
    assert rows_of(after) == rows_of(file)[1:]
    forms = []
    for one in (file, after):
        with query_engine() as connection:
            forms.append(
                [
                    connection.execute(f"SELECT {what}('{one}')").fetchall()
                    for what in (
                        "name, type, logical_type, repetition_type FROM parquet_schema",
                        "DISTINCT compression FROM parquet_metadata",
                        "key, value FROM parquet_kv_metadata",
                    )
                ]
            )
    assert forms[0] == forms[1]


def test_a_file_that_cannot_be_written_as_it_was_is_left(tmp_path: Path) -> None:
    file, who = tmp_path / "a.parquet", checked([parsed("id=7")])
    written(file, 'SELECT 7 AS id, 1 AS "abc", 2 AS "XBC"')
    file.write_bytes(file.read_bytes().replace(b"XBC", b"ABC"))
    unread = look_into(file, "a.parquet", who).unread
    assert (
        unread == "it cannot be written again: names of its columns repeat or differ by case only"
    )
