"""A profile equals what plain Python computes, whatever columns are called and hold."""

import csv
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.data import column_scans, opened_table
from treadle.data.table_profile import (
    TableColumn,
    TableProfile,
    named_oddities,
    profile_table,
)
from treadle.kernel.entity import from_json, from_packed, to_json, to_packed
from treadle.kernel.errors import Invalid, NotFound

HOSTILE = ['a"b', "new\nline", "[x]", "'; DROP TABLE t; --", "日本", "c0", "row_", "$1", "é" * 100]


def parquet(file: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def column(profile: TableProfile, name: str) -> TableColumn:
    return next(one for one in profile.columns if one.name == name)


def test_each_kind_of_column_is_told(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "t.parquet",
        n=[1, 2, 3, None],
        x=[0.5, math.nan, math.inf, 1.5],
        text=["a", "a", "bcd", None],
        at=[datetime(2026, 1, 1), datetime(2026, 1, 3), None, datetime(2026, 1, 2)],
        yes=[True, False, True, None],
        same=[1, 2, 3, None],
        one=["k", "k", "k", "k"],
    )
    made = profile_table(file)
    assert made.rows == 4
    n = column(made, "n")
    assert (n.kind, n.missing, n.distinct, n.min, n.max, n.mean) == ("number", 1, 3, 1, 3, 2.0)
    assert n.std == pytest.approx(math.sqrt(2 / 3))
    assert n.quantiles["0.5"] == 2.0
    assert n.histogram is not None and sum(n.histogram.counts) == 3
    assert n.unique and not n.constant
    x = column(made, "x")
    assert (x.not_finite, x.missing, x.min, x.max, x.mean) == (2, 0, 0.5, 1.5, 1.0)
    text = column(made, "text")
    assert [(one.value, one.rows) for one in text.top] == [("a", 2), ("bcd", 1)]
    assert text.lengths is not None and (text.lengths.min, text.lengths.max) == (1, 3)
    at = column(made, "at")
    assert (at.kind, at.min, at.max) == ("time", "2026-01-01T00:00:00", "2026-01-03T00:00:00")
    assert column(made, "yes").mean == pytest.approx(2 / 3)
    assert column(made, "same").same_as == "n"
    assert column(made, "one").constant
    assert "Column 'one' has one value only." in list(named_oddities(made))


def test_a_profile_goes_through_json_and_messagepack(tmp_path: Path) -> None:
    file = parquet(
        tmp_path / "t.parquet",
        big=pa.array([2**63, 2**64 - 1], pa.uint64()),
        blob=[b"\x00\xff", b"'"],
        day=pa.array([0, 10], pa.date32()),
        zoned=pa.array([0, 10**15], pa.timestamp("us", "Europe/Zurich")),
        list=[[1], [2, 3]],
        nothing=pa.array([None, None], pa.float64()),
        extreme=[1e308, -1e308],
    )
    made = profile_table(file)
    assert from_json(to_json(made), TableProfile) == made
    assert from_packed(to_packed(made), TableProfile) == made
    assert column(made, "zoned").min == "1970-01-01T00:00:00"
    assert column(made, "nothing").missing == 2
    assert "Column 'nothing' is empty." in list(named_oddities(made))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_hostile_names_are_only_names(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"t.{kind}"
    if kind == "csv":
        with file.open("w", newline="", encoding="utf-8") as text:
            csv.writer(text).writerows([HOSTILE, *[range(len(HOSTILE))] * 3])
    else:
        parquet(file, **{name: [place] * 3 for place, name in enumerate(HOSTILE)})
    made = profile_table(file)
    assert [(one.name, one.min, one.missing) for one in made.columns] == [
        (name, place, 0) for place, name in enumerate(HOSTILE)
    ]


def test_a_folder_of_files_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "1.csv").write_text("a\n1\n")
    (folder / "2.csv").write_text("a\n2\n3\n")
    assert profile_table(folder).rows == 3


def test_a_value_far_down_that_is_no_number_makes_a_column_text(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a\n" + "1\n" * 40_000 + "many\n")
    (only,) = profile_table(file).columns
    assert (only.kind, only.distinct) == ("text", 2)


def test_a_wide_table_is_profiled_without_correlations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened_table, "_WIDE", 20)
    monkeypatch.setattr(column_scans, "EXACT_COLUMNS", 10)
    wide = {f"c {place}": [float(place), 1.0, 2.0] for place in range(60)}
    made = profile_table(parquet(tmp_path / "wide.parquet", **wide))
    assert len(made.columns) == 60 and made.correlations == []
    assert made.columns[59].max == 59.0
    assert made.columns[1].same_as == "" and made.columns[59].missing == 0
    assert any("60 numeric columns are more than 50" in note for note in made.notes)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        profile_table(tmp_path / "gone.csv")
    (tmp_path / "t.txt").write_text("x")
    with pytest.raises(Invalid, match=r"'t\.txt' is no table: it holds \.txt"):
        profile_table(tmp_path / "t.txt")
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(Invalid, match="cannot be read as a table"):
        profile_table(tmp_path / "t.parquet")


def test_an_empty_table_has_a_profile(tmp_path: Path) -> None:
    empty = pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "t.parquet")
    made = profile_table(tmp_path / "t.parquet")
    assert made.rows == 0 and [one.distinct for one in made.columns] == [0, 0]


def test_a_large_table_is_near_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_scans, "EXACT_ROWS", 1_000)
    values = list(range(50_000))
    file = parquet(
        tmp_path / "t.parquet", n=values, kind=["a" if one % 3 else "b" for one in values]
    )
    made = profile_table(file)
    n, kind = made.columns
    assert n.unique and n.distinct == 50_000  # counted, since the estimate leaves it open
    assert abs(float(n.quantiles["0.5"]) - 25_000) < 500
    assert [(one.value, one.rows) for one in kind.top] == [("a", 33_333), ("b", 16_667)]
    assert kind.unique is False


numbers = st.none() | st.integers(-5, 5) | st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_are_those_of_plain_python(tmp_path: Path, values: list[float | None]) -> None:
    doubles = pa.array([None if one is None else float(one) for one in values], pa.float64())
    (made,) = profile_table(parquet(tmp_path / "t.parquet", v=doubles)).columns
    present = [float(one) for one in values if one is not None]
    assert made.missing == len(values) - len(present)
    assert made.distinct == len(set(present))
    assert made.min == (min(present) if present else None)
    assert made.max == (max(present) if present else None)
    if present:
        assert made.mean == pytest.approx(sum(present) / len(present), abs=1e-6)
        assert made.histogram is not None and sum(made.histogram.counts) == len(present)
        assert sum(one.rows for one in made.top) <= len(present)
        assert all(one.rows == present.count(float(str(one.value))) for one in made.top)
