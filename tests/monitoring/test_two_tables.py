"""Two tables are compared alike whatever holds them, and what cannot be compared is named."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bench_alarms import FAMILIES, alarm_rates, alarms_of_dependent_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import treadle
from treadle.data.profile import ColumnProfile, Reference
from treadle.data.table_counts import counts_of, reference_of
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.monitoring.drift_report import DriftReport
from treadle.stats.intervals import share

START = pd.Timestamp("2026-01-01", tz="Europe/Berlin")


def table(rows: int, *, shift: float = 0.0, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng([seed, rows])
    numbers = random.normal(shift, size=rows)
    numbers[::50] = np.nan
    return pd.DataFrame(
        {
            "number": numbers,
            "spike": np.where(random.random(rows) < 0.9, 0, random.integers(1, 9, rows)),
            "colour": random.choice(["red", "green", "blue"], rows, p=[0.7, 0.2, 0.1]),
            "flag": random.random(rows) < 0.3 + shift / 2,
            "at": START + pd.to_timedelta(random.integers(0, 10**6, rows), unit="s"),
            "name": [f"n{one}" for one in random.integers(0, 10**9, rows)],
            "same": 1.0,
            "nothing": [None] * rows,
        }
    )


@pytest.fixture(scope="module")
def report() -> DriftReport:
    return treadle.drift(table(3000), table(1000, shift=0.6, seed=1))


def parquet(frame: pd.DataFrame, folder: Path, name: str) -> str:
    frame.to_parquet(folder / f"{name}.parquet", row_group_size=500)
    return str(folder / f"{name}.parquet")


def test_what_moved_is_found_with_its_cells(report: DriftReport) -> None:
    assert report.drifted
    assert {name for name, one in report.columns.items() if one.drifted} == {"number", "flag"}
    kinds = {name: one.kind for name, one in report.columns.items()}
    assert kinds == {
        "number": "number",
        "spike": "number",
        "colour": "category",
        "flag": "category",
        "at": "date",
        "name": "text",
        "same": "number",
        "nothing": "empty",
    }
    flag = report.columns["flag"]
    assert [one.cell for one in flag.cells] == ["false", "true", "(missing)"]
    assert abs(flag.moved[0].before - flag.moved[0].now) == pytest.approx(0.3, abs=0.05)
    assert report.columns["number"].cells[-1].before == pytest.approx(0.02)


def test_statistics_are_scipys(report: DriftReport) -> None:
    before, now = (one["number"].dropna() for one in (table(3000), table(1000, shift=0.6, seed=1)))
    found = report.columns["number"].statistics
    ks = stats.ks_2samp(before, now).statistic
    assert found["kolmogorov_smirnov"] == pytest.approx(ks, abs=0.006)
    apart = stats.wasserstein_distance(before, now) / before.std(ddof=0)
    assert found["wasserstein"] == pytest.approx(apart, rel=0.01)
    colours = treadle.drift({"c": table(3000)["colour"]}, {"c": table(900, seed=4)["colour"]})
    theirs = stats.chi2_contingency(
        [frame["colour"].value_counts().sort_index() for frame in (table(3000), table(900, seed=4))]
    )
    assert colours.columns["c"].statistics["chi2"] == pytest.approx(theirs.statistic)
    assert 0.99 < colours.columns["c"].p / theirs.pvalue < 1.25  # the allowance for long tails


def rounded(report: DriftReport) -> dict[str, Any]:
    """What was found by column; sums over rows are rounded, since their order differs."""
    return {
        name: (
            *(one.kind, one.drifted, one.p, one.cells),
            *((key, f"{value:.9g}") for key, value in one.statistics.items()),
        )
        for name, one in report.columns.items()
    }


def test_frames_files_and_relations_are_compared_alike(tmp_path: Path, report: DriftReport) -> None:
    before, now = table(3000), table(1000, shift=0.6, seed=1)
    files = parquet(before, tmp_path, "before"), parquet(now, tmp_path, "now")
    assert rounded(treadle.drift(*files)) == rounded(report)
    assert rounded(treadle.drift(Path(files[0]), now)) == rounded(report)
    assert rounded(
        treadle.drift(pa.Table.from_pandas(before), pa.Table.from_pandas(now))
    ) == rounded(report)
    assert rounded(treadle.drift(duckdb.read_parquet(files[0]), now)) == rounded(report)
    for name, part in (("1", now[:400]), ("2", now[400:])):
        parquet(part, tmp_path, f"part{name}")
    assert rounded(treadle.drift(before, f"{tmp_path}/part*.parquet")) == rounded(report)
    names = ["number", "spike", "colour", "flag", "same"]
    for frame, name in ((before, "before"), (now, "now")):
        frame[names].to_csv(tmp_path / f"{name}.csv", index=False)
    of_csv = treadle.drift(tmp_path / "before.csv", tmp_path / "now.csv")
    as_frames = treadle.drift(before, now, columns=names)
    assert rounded(of_csv)["number"] == rounded(as_frames)["number"]
    assert rounded(of_csv)["spike"] == rounded(as_frames)["spike"]
    assert of_csv.columns["colour"].p == as_frames.columns["colour"].p
    arrays = {name: before[name].to_numpy() for name in names}
    assert rounded(treadle.drift(arrays, now, columns=names)) == rounded(as_frames)
    matrix = treadle.drift(before[["number"]].to_numpy(), now[["number"]].to_numpy())
    assert list(matrix.columns) == ["0"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**70 + one for one in range(40)], "number"),
        ([10**400, None] * 20, "category"),
        ([Decimal(one) / 7 for one in range(40)], "number"),
        ([date(2026, 1, 1) + timedelta(days=one) for one in range(40)], "date"),
        ([datetime(2026, 1, 1, one % 24, tzinfo=UTC) for one in range(40)], "date"),
        ([None, True, False, True] * 10, "category"),
        ([1.0, float("inf"), float("-inf"), float("nan")] * 10, "number"),
        (pd.array([1, None, 3, 4] * 10, dtype="Int64"), "number"),
        (pd.array([True, None, False, True] * 10, dtype="boolean"), "category"),
        (pd.Categorical(["a", "b"] * 20), "category"),
        (pd.to_timedelta(range(40), unit="s"), "number"),
        (pd.array(["a", None] * 20, dtype="string"), "category"),
        ([[1, 2], [3]] * 20, "category"),
        ([""] * 20 + [None] * 20, "empty"),
        (np.full(40, np.nan), "empty"),
        (np.arange(40, dtype=np.float16), "number"),
        (["(other)", "(missing)"] * 20, "text"),
    ],
    ids=str,
)
def test_every_kind_of_column_is_compared(values: Any, kind: str) -> None:
    frame = pd.DataFrame({"x": pd.Series(values)})
    report = treadle.drift(frame, frame[::3])
    found = report.columns["x"]
    assert found.kind == kind
    assert not found.drifted
    json.loads(report.to_json())


def test_new_categories_and_missing_values_are_drift() -> None:
    random = np.random.default_rng(1)
    before = {"c": random.choice(["a", "b"], 5000), "x": random.normal(size=5000)}
    found = treadle.drift(before, {"c": ["a"] * 40 + ["new"] * 60, "x": [np.nan] * 100})
    assert found.columns["c"].drifted
    assert found.columns["c"].moved[0].cell in ("new", "b")
    assert found.columns["x"].drifted
    assert found.columns["x"].moved[0].cell == "(missing)"


def test_columns_that_one_side_lacks_are_named() -> None:
    before = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, 2]})
    now = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0], "d": [1, 2]})
    found = treadle.drift(before, now)
    assert list(found.columns) == ["a"]
    assert found.not_compared == {
        "c": "only the reference has it",
        "d": "only the current table has it",
        "b": "it holds text in the reference and numbers now",
    }
    assert "Not compared: c: only the reference has it." in str(found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: treadle.drift(t, t[:0]), "The current table has no rows"),
        (lambda t: treadle.drift(t, 3), "The current table is a int, which is no table. Give"),
        (lambda t: treadle.drift(np.zeros(3), t), r"ndarray of shape \(3,\), which is no table"),
        (lambda t: treadle.drift(pd.concat([t, t], axis=1), t), "has two columns 'number'"),
        (lambda t: treadle.drift(t, t, columns=["nunber"]), "Did you mean 'number'"),
        (lambda t: treadle.drift(t[["flag"]], t[["at"]]), "have no column in common"),
        (lambda t: treadle.drift(t, reference_of(t)), "the reference is a table"),
        (lambda t: treadle.drift({"a": [1], "b": [1, 2]}, t), "different numbers of rows"),
        (lambda t: treadle.drift(t, t, false_alarms=5), "a probability above 0 and below 1"),
    ],
)
def test_what_is_no_pair_of_tables_is_refused(
    call: Callable[[pd.DataFrame], Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        call(table(50))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=r"no file 'absent\.csv'"):
        treadle.drift("absent.csv", "absent.csv")


@pytest.mark.parametrize(("before", "now"), [(1, 1), (1, 100), (3, 2), (60, 4)])
def test_few_rows_say_nothing(before: int, now: int) -> None:
    found = treadle.drift({"x": np.arange(before)}, {"x": np.arange(now) + 0.5})
    assert not found.drifted


def test_the_gate_on_effect_is_apart_from_the_evidence() -> None:
    random = np.random.default_rng(1)
    tables = {"x": random.normal(size=20_000)}, {"x": random.normal(0.1, size=20_000)}
    gated = treadle.drift(*tables)
    assert not gated.drifted
    assert gated.columns["x"].p < 1e-6
    assert treadle.drift(*tables, effect=0.0).drifted


def test_a_report_is_a_text_json_and_a_page(tmp_path: Path, report: DriftReport) -> None:
    text = str(report)
    assert text.startswith("2 of 8 columns drifted (3,000 reference rows, 1,000 current rows).")
    assert [line.split()[0] for line in text.splitlines()[3:5]] == ["flag", "number"]
    assert from_json(report.to_json(), DriftReport) == report
    assert report.to_dict()["columns"]["flag"]["drifted"] is True
    page = report.html(tmp_path / "drift.html").read_text()
    assert page.count("<svg") == 2
    assert "http" not in page
    assert "<strong>yes</strong>" in report._repr_html_()


# Counts that were made before.


def test_counts_of_a_reference_are_those_of_its_file(tmp_path: Path) -> None:
    frame = table(3000)
    assert reference_of(parquet(frame, tmp_path, "frame")) == reference_of(frame)
    assert "nothing" not in reference_of(frame)


@given(st.randoms(use_true_random=False), st.integers(1, 6))
@settings(max_examples=8)
def test_counts_of_parts_merge_to_those_of_the_whole(random: Any, parts: int) -> None:
    columns = ["number", "colour", "at"]
    reference = reference_of(table(800)[columns])
    now = table(500, shift=0.3, seed=2)[columns]
    rows = list(range(len(now)))
    random.shuffle(rows)
    merged: dict[str, ColumnProfile] = {}
    for part in range(parts):
        for name, counts in counts_of(now.iloc[rows[part::parts]], reference).items():
            merged[name] = merged[name].merge(counts) if name in merged else counts
    assert treadle.drift(reference, merged) == treadle.drift(reference, now)


def test_a_models_reference_is_compared_as_well() -> None:
    columns = reference_of(table(800))
    reference = Reference(rows=800, columns=columns, prediction=columns["number"], parity=0.0)
    found = treadle.drift(reference, table(500, shift=1.0))
    assert found.columns["number"].drifted
    assert "nothing" not in found.columns


def test_counts_over_other_bins_are_not_compared() -> None:
    first, second = (reference_of(table(500, seed=seed)) for seed in (1, 2))
    found = treadle.drift(first, second)
    assert "different bins" in found.not_compared["number"]
    assert "colour" in found.columns


def test_a_column_that_is_text_now_cannot_be_counted_between_edges() -> None:
    reference = reference_of({"x": np.arange(50.0)})
    with pytest.raises(Invalid, match="'x' cannot be counted: it holds numbers in the reference"):
        counts_of({"x": ["a", "b"]}, reference)


# How often nothing is called drift: a smaller run of benchmarks/bench_alarms.py.


@pytest.mark.parametrize(
    ("name", "rows"),
    [("normal", 50), ("heavy-tailed", 100), ("rare categories", 500), ("rare categories", 10_000)],
)
def test_alarms_keep_their_rate(name: str, rows: int) -> None:
    for columns, (alarms, trials) in alarm_rates(name, rows, trials=300).items():
        assert columns in FAMILIES
        assert share(alarms, trials).low <= 0.05


def test_alarms_of_dependent_columns_keep_their_rate() -> None:
    alarms, trials = alarms_of_dependent_columns(100, 5, trials=100)
    assert share(alarms, trials).low <= 0.05
