"""Row-level differences equal those of a comparison in plain Python."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.data.table_diff import TableDiff, diff_tables
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid

Row = tuple[Any, ...]
TYPES = (pa.int64(), pa.string(), pa.float64())


def table(file: Path, rows: list[Row]) -> Path:
    names = ("k", 'te"xt', "x")
    columns = {
        name: pa.array([row[place] for row in rows], TYPES[place])
        for place, name in enumerate(names)
    }
    pq.write_table(pa.table(columns), file)
    return file


rows = st.lists(
    st.tuples(
        st.none() | st.integers(0, 6),
        st.none() | st.sampled_from(["a", "b", "", "A"]),
        st.none() | st.sampled_from([0.0, 0.5, float("nan"), 1e300]),
    ),
    max_size=12,
)


def plain(row: Row) -> Row:
    """NaN equals itself as text."""
    return tuple("nan" if value != value else value for value in row)


def by_key(rows: list[Row]) -> dict[Any, Row]:
    return {row[0]: plain(row) for row in rows}


@given(rows, rows)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_keys_are_compared_as_python_does(tmp_path: Path, old: list[Row], new: list[Row]) -> None:
    before, after = by_key(old), by_key(new)
    old = list({row[0]: row for row in old}.values())
    new = list({row[0]: row for row in new}.values())
    made = diff_tables(
        table(tmp_path / "o.parquet", old), table(tmp_path / "n.parquet", new), by=["k"]
    )
    both = before.keys() & after.keys()
    changed = [key for key in both if before[key] != after[key]]
    assert made.added == len(after.keys() - before.keys())
    assert made.removed == len(before.keys() - after.keys())
    assert made.changed == len(changed)
    for place, name in ((1, 'te"xt'), (2, "x")):
        expected = sum(before[key][place] != after[key][place] for key in both)
        assert made.changed_by_column.get(name, 0) == expected
    shown = {one.key["k"]: one for one in made.examples if one.kind == "changed"}
    assert shown.keys() <= set(changed)
    for key, one in shown.items():
        assert ('te"xt' in one.changes) == (before[key][1] != after[key][1])
        if 'te"xt' in one.changes:
            change = one.changes['te"xt']
            assert (change.old, change.new) == (before[key][1], after[key][1])
    assert from_json(to_json(made), TableDiff) == made


@given(rows, rows)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whole_rows_are_compared_as_multisets(
    tmp_path: Path, old: list[Row], new: list[Row]
) -> None:
    made = diff_tables(
        table(tmp_path / "o.parquet", old), table(tmp_path / "n.parquet", new), by=[]
    )
    before, after = Counter(map(plain, old)), Counter(map(plain, new))
    assert made.added == (after - before).total()
    assert made.removed == (before - after).total()
    assert made.is_empty == (before == after)


def test_a_changed_schema_is_told(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("id,a,b\n1,1,x\n2,2,y\n")
    new.write_text("id,a,c\n1,one,x\n2,2,y\n")
    made = diff_tables(old, new, by=["id"])
    assert (made.columns_added, made.columns_removed) == (["c"], ["b"])
    (change,) = made.types_changed
    assert (change.column, change.old, change.new) == ("a", "BIGINT", "VARCHAR")
    assert made.changed == 1  # "2" as text equals the number 2


def test_keys_that_repeat_are_refused_with_an_example(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("id,a\n1,1\n1,2\n2,2\n2,3\n2,4\n")
    new.write_text("id,a\n1,1\n")
    with pytest.raises(Invalid, match=r"2 keys repeat in the old table, such as id = 1 \(2 rows\)"):
        diff_tables(old, new, by=["id"])
    with pytest.raises(Invalid, match=r"need a column 'ids'\. Did you mean 'id'\?"):
        diff_tables(old, new, by=["ids"])


def test_equal_tables_do_not_differ(tmp_path: Path) -> None:
    file = table(tmp_path / "t.parquet", [(1, "a", 0.5), (None, None, None)])
    assert diff_tables(file, file, by=["k"]).is_empty
    assert diff_tables(file, file, by=[]).is_empty
