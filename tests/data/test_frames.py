"""Tables go in and come out as they were, whichever library they are of."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.data import frames
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Field, Layout

TABLE = pd.DataFrame(
    {
        "whole": pd.array([1, None, 3], dtype="Int64"),
        "real": [0.5, np.nan, -2.0],
        "text": ["a", None, ""],
        "yes": pd.array([True, None, False], dtype="boolean"),
    }
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


def back(frame: Any, file: Path) -> Any:
    frames.write(frame, file)
    return frames.read(file)


def libraries() -> list[Any]:
    return [
        TABLE,
        pa.Table.from_pandas(TABLE),
        duckdb.from_df(TABLE),
        duckdb.connect().from_df(TABLE),
    ]


@pytest.mark.parametrize(
    "frame", libraries(), ids=["pandas", "arrow", "duckdb", "duckdb of its own connection"]
)
def test_any_frame_comes_back_with_its_rows_in_order(frame: Any, file: Path) -> None:
    assert frames.is_frame(frame)
    found = back(frame, file)
    assert list(found.columns) == ["whole", "real", "text", "yes"]
    np.testing.assert_array_equal(found["whole"], [1, np.nan, 3])
    np.testing.assert_array_equal(found["real"], [0.5, np.nan, -2])
    np.testing.assert_array_equal(found["yes"], [1, np.nan, 0])
    assert [None if pd.isna(text) else text for text in found["text"]] == ["a", None, ""]


def test_the_frame_that_is_asked_for_comes_out(file: Path) -> None:
    frames.write(TABLE, file)
    assert isinstance(frames.read(file), pd.DataFrame)
    assert isinstance(frames.read(file, pd.DataFrame), pd.DataFrame)
    table = frames.read(file, pa.Table)
    assert isinstance(table, pa.Table)
    assert table["whole"].to_pylist() == [1, None, 3]


def test_what_is_no_table_is_no_frame() -> None:
    for value in ([1], {"columns": 1}, np.zeros(3), TABLE["text"], "pandas", None):
        assert not frames.is_frame(value)


def test_a_frames_index_is_left_behind_and_its_order_kept(file: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(200_000)[::-1]}, index=np.arange(200_000) * 7)
    np.testing.assert_array_equal(back(frame, file)["n"], np.arange(200_000)[::-1])


def test_an_empty_table_keeps_its_columns(file: Path) -> None:
    found = back(TABLE.head(0), file)
    assert (list(found.columns), len(found)) == (list(TABLE.columns), 0)
    assert frames.columns(file, ["text"])["text"].shape == (0,)


def test_columns_are_plain_numbers_and_text_with_null_where_nothing_is(file: Path) -> None:
    frames.write(TABLE, file)
    found = frames.columns(file, ["text", "whole", "yes", "real"])
    assert found["text"].tolist() == ["a", None, ""]
    for name, values in {
        "whole": [1, np.nan, 3],
        "yes": [1, np.nan, 0],
        "real": [0.5, np.nan, -2],
    }.items():
        assert found[name].dtype == np.float64
        np.testing.assert_array_equal(found[name], values)


def test_a_column_that_is_not_there_is_named_beside_those_that_are(file: Path) -> None:
    frames.write(TABLE, file)
    with pytest.raises(
        Invalid, match=r"The table has no column 'txt'\. It has: whole, real, text, yes\."
    ):
        frames.columns(file, ["text", "txt"])


@pytest.mark.parametrize("name", ["a b", "select", "é", "1", "a.b", 'quo"te', "per%cent"])
def test_a_column_may_have_any_name(file: Path, name: str) -> None:
    assert list(back(pd.DataFrame({name: [1.0]}), file).columns) == [name]
    assert frames.columns(file, [name])[name].tolist() == [1.0]


def test_columns_that_differ_only_in_case_are_refused(file: Path) -> None:
    with pytest.raises(Invalid, match="'rate' and 'Rate' differ in case only"):
        frames.write(pd.DataFrame({"rate": [1.0], "Rate": [2.0]}), file)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_moment_reads_the_same_from_the_frame_and_from_its_file(file: Path, unit: str) -> None:
    moments = pd.Series(
        pd.to_datetime(["2024-01-01 10:00:00", None, "2024-01-02 00:00:00"])
    ).astype(f"datetime64[{unit}]")
    frames.write(pd.DataFrame({"at": moments}), file)
    assert frames.plain(moments).tolist() == ["2024-01-01 10:00:00", None, "2024-01-02 00:00:00"]
    assert frames.columns(file, ["at"])["at"].tolist() == [
        "2024-01-01 10:00:00",
        None,
        "2024-01-02 00:00:00",
    ]
    back_again = frames.read(file)["at"]
    assert [None if pd.isna(at) else str(at) for at in back_again] == [
        "2024-01-01 10:00:00",
        None,
        "2024-01-02 00:00:00",
    ]


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        ("string", ["a", None], ["a", None]),
        ("category", ["a", None], ["a", None]),
        ("object", ["a", np.nan], ["a", None]),
        ("Int64", [1, None], [1.0, np.nan]),
        ("boolean", [True, None], [1.0, np.nan]),
    ],
)
def test_pandas_missing_values_of_every_kind_become_plain(
    kind: str, values: list[Any], wanted: list[Any]
) -> None:
    numeric = isinstance(wanted[0], float)
    found = frames.plain(pd.Series(values, dtype=kind))
    np.testing.assert_array_equal(found, np.array(wanted, dtype=np.float64 if numeric else object))


def test_decimals_are_numbers_and_dates_are_text(file: Path) -> None:
    frames.write(duckdb.sql("SELECT 1.25::DECIMAL(9, 2) AS price, DATE '2024-02-29' AS day"), file)
    found = frames.columns(file, ["price", "day"])
    assert found["price"].tolist() == [1.25]
    assert found["day"].tolist()[0].startswith("2024-02-29")


cells = st.none() | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(cells, st.none() | st.floats(allow_nan=False)), min_size=1, max_size=20))
def test_text_and_numbers_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, float | None]]
) -> None:
    file = tmp_path_factory.mktemp("frames") / "table.parquet"
    texts, numbers = zip(*rows, strict=True)
    frames.write(
        pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(numbers, pa.float64())}),
        file,
    )
    found = frames.columns(file, ["text", "number"])
    assert found["text"].tolist() == list(texts)
    np.testing.assert_array_equal(found["number"], np.array(numbers, dtype=float))


def test_a_model_takes_float32_and_text_without_holes(file: Path) -> None:
    frames.write(TABLE, file)
    fields = [Field(name="text", kind="text"), Field(name="real", kind="number")]
    taken = Columns.of(Layout(fields), frames.columns(file, ["text", "real"]))
    assert taken["text"].tolist() == ["a", "", ""]
    assert taken["real"].dtype == np.float32
    np.testing.assert_array_equal(taken["real"], np.array([0.5, np.nan, -2], dtype=np.float32))
