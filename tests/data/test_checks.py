"""Checks find the rows that violate them, and set them aside."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.test_table_profile import HOSTILE
from treadle.data.check_report import CheckReport, CheckResult
from treadle.data.checks import Surroundings, check_table, quarantined
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.scope.data_checks import DataCheck

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = """id,age,town,at
1,30,a,2026-01-01
2,-4,b,2026-01-02
2,200,c,2026-01-03
4,,zz,2026-01-04
5,12,a,
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "rows.csv"
    made.write_text(ROWS)
    return made


def only(file: Path, check: DataCheck, surroundings: Surroundings | None = None) -> CheckResult:
    (result,) = check_table(file, [check], surroundings or Surroundings(NOW)).checks
    return result


@pytest.mark.parametrize(
    "check, violations, rows",
    [
        (DataCheck(column="age", min=0), 1, [1]),
        (DataCheck(column="age", max=120), 1, [2]),
        (DataCheck(column="age", missing_max=0.1), 1, [3]),
        (DataCheck(column="id", unique=True), 1, [2]),
        (DataCheck(column="town", values=["a", "b", "c"]), 1, [3]),
        (DataCheck(column="age", values=[30, 200]), 2, [1, 4]),
        (DataCheck(column="town", matches="[a-c]"), 1, [3]),
        (DataCheck(column="at", min="2026-01-02"), 1, [0]),
        (DataCheck(column="town", min=1), 5, [0, 1, 2, 3, 4]),
        (DataCheck(column="town", max="b"), 2, [2, 3]),
        (DataCheck(sql="SELECT * FROM rows WHERE age < 0 OR town = 'zz'"), 2, [1, 3]),
    ],
)
def test_rows_that_violate_a_check_are_found(
    file: Path, check: DataCheck, violations: int, rows: list[int]
) -> None:
    result = only(file, check)
    assert not result.passed
    assert (result.violations, result.share) == (violations, violations / 5)
    assert [one.row for one in result.examples] == rows


@pytest.mark.parametrize(
    "check, measured",
    [
        (DataCheck(column="age", type="text"), "it holds number (BIGINT)"),
        (DataCheck(column="agee"), "there is no such column. Did you mean 'age'?"),
        (DataCheck(column="at", fresh="12h"), "the newest is of 2026-01-04T00:00:00"),
        (DataCheck(column="town", fresh="12h"), "it holds no time"),
        (DataCheck(rows_min=6), "there are 5"),
        (DataCheck(rows_max=4), "there are 5"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(file: Path, check: DataCheck, measured: str) -> None:
    result = only(file, check)
    assert (result.passed, result.measured) == (False, measured)


@pytest.mark.parametrize(
    "check",
    [
        DataCheck(column="age"),
        DataCheck(column="age", type="number", min=-4, max=200, missing_max=0.2),
        DataCheck(column="at", type="time", fresh="2d"),
        DataCheck(rows_min=5, rows_max=5),
        DataCheck(column="town", matches=r"\w+"),
        DataCheck(sql="SELECT * FROM rows WHERE id > 10"),
        DataCheck(column="age", same_as="newest"),  # no version yet
    ],
)
def test_a_good_table_passes(file: Path, check: DataCheck) -> None:
    report = check_table(file, [check], Surroundings(NOW))
    assert all(one.passed for one in report.checks) and not report.failed


def test_a_moment_with_a_time_zone_is_compared_as_a_moment(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    moments = [datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC)]
    pq.write_table(pa.table({"at": pa.array(moments, pa.timestamp("us", "Asia/Tokyo"))}), file)
    for bound in ("2026-01-01T11:00:00", "2026-01-01T12:00:00+01:00"):
        result = only(file, DataCheck(column="at", min=bound))
        assert [one.row for one in result.examples] == [0]


def test_a_foreign_key_is_looked_up(file: Path, tmp_path: Path) -> None:
    towns = tmp_path / "towns.csv"
    towns.write_text("town\na\nb\nc\n")
    known = Surroundings(NOW, {"towns": towns})
    result = only(file, DataCheck(column="town", references="towns.town"), known)
    assert [one.row for one in result.examples] == [3]
    with pytest.raises(NotFound, match=r"no dataset 'town'\. Did you mean 'towns'\?"):
        only(file, DataCheck(column="town", references="town.town"), known)
    with pytest.raises(NotFound, match="'towns' has no column 'name'"):
        only(file, DataCheck(column="town", references="towns.name"), known)


def test_a_shifted_distribution_is_far(tmp_path: Path) -> None:
    old, new = tmp_path / "old.csv", tmp_path / "new.csv"
    old.write_text("x,c\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(1000)))
    new.write_text("x,c\n" + "".join(f"{n + 800},a\n" for n in range(1000)))
    versions = {"newest": old}
    for distance in ("psi", "js"):
        for column in ("x", "c"):
            check = DataCheck(column=column, same_as="newest", distance=distance)
            assert only(old, check, Surroundings(NOW, {}, versions)).passed
            result = only(new, check, Surroundings(NOW, {}, versions))
            assert not result.passed and result.measured.startswith("the distance is ")
    with pytest.raises(NotFound, match="no version 'abc'"):
        only(new, DataCheck(column="x", same_as="abc"), Surroundings(NOW))


def test_rows_are_set_aside_as_they_were_written(file: Path, tmp_path: Path) -> None:
    checks = [
        DataCheck(column="age", min=0, max=120, severity="quarantine"),
        DataCheck(column="town", values=["a", "b", "c"], severity="warn"),
        DataCheck(sql='SELECT * FROM rows WHERE "at" IS NULL', severity="quarantine"),
    ]
    good, bad = tmp_path / "good" / "rows.csv", tmp_path / "bad" / "rows.csv"
    report = quarantined(file, checks, Surroundings(NOW), good=good, bad=bad)
    assert (report.quarantined, report.quarantined_rows, report.failed) == (3, [1, 2, 4], False)
    assert good.read_text() == "id,age,town,at\n1,30,a,2026-01-01\n4,,zz,2026-01-04\n"
    assert bad.read_text() == "id,age,town,at\n2,-4,b,2026-01-02\n2,200,c,2026-01-03\n5,12,a,\n"
    assert from_json(to_json(report), CheckReport) == report


def test_nothing_is_written_where_no_row_is_set_aside(file: Path, tmp_path: Path) -> None:
    check = DataCheck(column="id", min=0, severity="quarantine")
    good = tmp_path / "good.csv"
    quarantined(file, [check], Surroundings(NOW), good=good, bad=tmp_path / "bad.csv")
    assert not good.exists()


def test_files_of_a_folder_keep_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    (folder / "deep").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1, -2]}), folder / "1.parquet")
    pq.write_table(pa.table({"x": [-3, 4]}), folder / "deep" / "2.parquet")
    good, bad = tmp_path / "good", tmp_path / "bad"
    check = DataCheck(column="x", min=0, severity="quarantine")
    report = quarantined(folder, [check], Surroundings(NOW), good=good, bad=bad)
    assert report.quarantined_rows == [1, 2]
    found = {
        path.relative_to(tmp_path).as_posix(): pq.read_table(path)["x"].to_pylist()
        for path in tmp_path.rglob("*.parquet")
        if not path.is_relative_to(folder)
    }
    assert found == {
        "good/1.parquet": [1],
        "good/deep/2.parquet": [4],
        "bad/1.parquet": [-2],
        "bad/deep/2.parquet": [-3],
    }


def test_a_missing_column_refuses_whatever_was_declared(file: Path) -> None:
    check = DataCheck(column="agee", min=0, severity="quarantine")
    report = check_table(file, [check], Surroundings(NOW))
    assert report.failed and report.quarantined == 0


def test_hostile_names_and_values_are_only_text(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({name: [name, None] for name in HOSTILE}), file)
    for name in HOSTILE:
        checks = [
            DataCheck(column=name, values=[name], matches=r"(?s:.*)", unique=True, min=name),
            DataCheck(column=name, missing_max=0.0, severity="quarantine"),
        ]
        report = check_table(file, checks, Surroundings(NOW))
        assert [one.passed for one in report.checks] == [True] * 4 + [False]
        assert report.quarantined_rows == [1]


def test_a_pattern_that_explodes_elsewhere_takes_no_time(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(f"a\n{'a' * 5000}!\n")
    assert not only(file, DataCheck(column="a", matches="(a+)+(a+)+$")).passed
    with pytest.raises(Invalid, match="cannot be checked"):
        only(file, DataCheck(column="a", matches="(a"))


@given(
    st.lists(st.none() | st.integers(-20, 20), min_size=1, max_size=30),
    st.integers(-10, 10),
    st.integers(-10, 10),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_kept_rows_and_rows_set_aside_are_all_rows(
    tmp_path: Path, values: list[int | None], low: int, high: int
) -> None:
    file, good, bad = (tmp_path / f"{name}.parquet" for name in ("t", "good", "bad"))
    for path in (good, bad):
        path.unlink(missing_ok=True)
    pq.write_table(pa.table({"v": pa.array(values, pa.int64())}), file)
    check = DataCheck(column="v", min=low, max=high, severity="quarantine")
    report = quarantined(file, [check], Surroundings(NOW), good=good, bad=bad)
    wrong = [one for one in values if one is not None and not low <= one <= high]
    assert report.quarantined == len(wrong)
    if wrong:
        assert pq.read_table(bad)["v"].to_pylist() == wrong
        kept = [one for one in values if one is None or low <= one <= high]
        assert pq.read_table(good)["v"].to_pylist() == kept
