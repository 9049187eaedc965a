"""What is joined was known at the time: checked against a search through every fact."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treadle.features.point_in_time import join_as_of
from treadle.kernel.errors import Invalid

START = datetime(2024, 1, 1)
Row = tuple[str | None, int, int | None]
Fact = tuple[str | None, int, int | None, int]

keys = st.sampled_from(["a", "b", None])
hours = st.none() | st.integers(0, 12)
asked = st.lists(st.tuples(keys, st.integers(0, 2), hours), min_size=1, max_size=12)
known = st.lists(st.tuples(keys, st.integers(0, 2), hours), max_size=12, unique=True)


def moment(hour: int | None) -> datetime | None:
    return None if hour is None else START + timedelta(hours=hour)


def frame(columns: dict[str, list[Any]]) -> pa.Table:
    kinds = {"at": pa.timestamp("us"), "known_at": pa.timestamp("us"), "name": pa.string()}
    return pa.table(
        {name: pa.array(values, kinds.get(name, pa.int64())) for name, values in columns.items()}
    )


def rows_frame(rows: list[Row]) -> pa.Table:
    names, places, times = ([row[part] for row in rows] for part in range(3))
    return frame(
        {
            "row": list(range(len(rows))),
            "name": names,
            "place": places,
            "at": [moment(t) for t in times],  # type: ignore[arg-type]
        }
    )


def facts_frame(facts: list[Fact]) -> pa.Table:
    names, places, times, values = ([fact[part] for fact in facts] for part in range(4))
    return frame(
        {"name": names, "place": places, "known_at": [moment(t) for t in times], "value": values}  # type: ignore[arg-type]
    )


def searched(row: Row, facts: list[Fact], within_hours: float | None) -> int | None:
    """The value of the newest fact known at the row's moment, found by a look at every fact."""
    name, place, at = row
    if at is None or name is None:
        return None
    then = [f for f in facts if f[0] == name and f[1] == place and f[2] is not None and f[2] <= at]
    newest = max(then, key=lambda fact: fact[2] or 0, default=None)
    if (
        newest is None
        or newest[2] is None
        or (within_hours is not None and at - newest[2] > within_hours)
    ):
        return None
    return newest[3]


@settings(max_examples=60, deadline=None)
@given(asked, known, st.none() | st.integers(0, 5))
def test_every_row_gets_the_newest_fact_that_was_known(
    rows: list[Row], known: list[Any], within: int | None
) -> None:
    facts: list[Fact] = [(*fact, number) for number, fact in enumerate(known)]
    found = join_as_of(
        rows_frame(rows),
        facts_frame(facts),
        at="at",
        known_at="known_at",
        by=["name", "place"],
        within_seconds=None if within is None else within * 3600,
    )
    joined = dict(found.project('"row", "value"').fetchall())
    assert joined == {number: searched(row, facts, within) for number, row in enumerate(rows)}
    assert found.columns == ["row", "name", "place", "at", "value"]


@settings(max_examples=40, deadline=None)
@given(asked, known, known)
def test_no_fact_from_the_future_changes_anything(
    rows: list[Row], past: list[Any], future: list[Any]
) -> None:
    facts: list[Fact] = [(*fact, number) for number, fact in enumerate(past)]
    later: list[Fact] = [(name, place, 13 + (hour or 0), -1) for name, place, hour in future]

    def joined(facts: list[Fact]) -> dict[int, int | None]:
        found = join_as_of(
            rows_frame(rows), facts_frame(facts), at="at", known_at="known_at", by=["name", "place"]
        )
        return dict(found.project('"row", "value"').fetchall())

    assert joined(facts + later) == joined(facts)


ROWS = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2024-01-02", "2024-01-03"])})
FACTS = pd.DataFrame(
    {
        "id": [1, 2, 2],
        "known_at": pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-04"]),
        "v": [10, 20, 30],
    }
)


def values(found: Any) -> list[Any]:
    return [value for (value,) in found.order("id").project("v").fetchall()]


def test_frames_relations_and_parquet_files_give_the_same(tmp_path: Path) -> None:
    duckdb.from_df(FACTS.head(1)).write_parquet(str(tmp_path / "facts1.parquet"))
    duckdb.from_df(FACTS.tail(2)).write_parquet(str(tmp_path / "facts2.parquet"))
    duckdb.from_df(ROWS).write_parquet(str(tmp_path / "rows.parquet"))
    forms: list[tuple[Any, Any]] = [
        (ROWS, FACTS),
        (pa.Table.from_pandas(ROWS), pa.Table.from_pandas(FACTS)),
        (duckdb.from_df(ROWS), duckdb.from_df(FACTS)),
        (tmp_path / "rows.parquet", str(tmp_path / "facts*.parquet")),
    ]
    for rows, facts in forms:
        assert values(join_as_of(rows, facts, at="at", known_at="known_at", by=["id"])) == [10, 20]


def test_a_fact_of_the_very_moment_counts_and_an_old_one_does_not() -> None:
    found = join_as_of(ROWS, FACTS, at="at", known_at="known_at", by=["id"], within_seconds=86_400)
    assert values(found) == [10, None]
    edge = join_as_of(
        ROWS, FACTS, at="at", known_at="known_at", by=["id"], within_seconds=2 * 86_400
    )
    assert values(edge) == [10, 20]


@pytest.mark.parametrize(
    ("name", "message"), [("when", "no column 'when' to join on. There is: id, at")]
)
def test_a_column_that_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        join_as_of(ROWS, FACTS, at=name, known_at="known_at", by=["id"])
    with pytest.raises(Invalid, match=f"no column '{name}'"):
        join_as_of(ROWS, FACTS, at="at", known_at=name, by=["id"])
    with pytest.raises(Invalid, match=f"no column '{name}'"):
        join_as_of(ROWS, FACTS, at="at", known_at="known_at", by=["id", name])


def test_ids_beyond_a_floats_precision_stay_apart() -> None:
    big = 2**53
    rows = duckdb.sql(
        f"SELECT {big + 1}::BIGINT AS id, TIMESTAMP '2024-01-02' AS at UNION ALL SELECT NULL, NULL"
    )
    facts = duckdb.sql(
        f"SELECT {big}::BIGINT AS id, TIMESTAMP '2024-01-01' AS known_at, 'another' AS v "
        "UNION ALL SELECT NULL, NULL, 'x'"
    )
    found = join_as_of(rows, facts, at="at", known_at="known_at", by=["id"])
    assert found.filter("id IS NOT NULL").project("v").fetchall() == [(None,)]


def test_columns_may_have_any_name() -> None:
    rows = ROWS.rename(columns={"at": 'the "at"', "id": "the id"})
    facts = FACTS.rename(columns={"id": "the id", "v": 'the "v"'})
    found = join_as_of(rows, facts, at='the "at"', known_at="known_at", by=["the id"])
    assert found.columns == ["the id", 'the "at"', 'the "v"']


def test_facts_that_hold_for_everybody_need_no_key() -> None:
    facts = pd.DataFrame({"known_at": pd.to_datetime(["2024-01-01", "2024-01-03"]), "v": [1, 2]})
    assert values(join_as_of(ROWS, facts, at="at", known_at="known_at", by=[])) == [1, 2]


def test_moments_may_be_whole_numbers() -> None:
    rows, facts = ROWS.assign(at=[5, 9]), FACTS.assign(known_at=[4, 3, 10])
    assert values(join_as_of(rows, facts, at="at", known_at="known_at", by=["id"])) == [10, 20]
    found = join_as_of(rows, facts, at="at", known_at="known_at", by=["id"], within_seconds=2)
    assert values(found) == [10, None]
