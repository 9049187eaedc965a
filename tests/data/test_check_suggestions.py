"""Checks that are proposed from a version hold for it, and TOML gives them back."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.test_table_profile import HOSTILE
from treadle.data.check_suggestions import checks_toml, infer_checks
from treadle.data.checks import Surroundings, check_table
from treadle.data.table_profile import profile_table
from treadle.kernel.entity import from_plain
from treadle.scope.data_checks import DataCheck, refuse_unsound

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def proposed(file: Path) -> list[DataCheck]:
    """The checks that are proposed, read back from TOML."""
    text = checks_toml("my rows", infer_checks(profile_table(file)))
    tables = tomllib.loads(text)["data"]["my rows"]["checks"]
    checks = [from_plain(table, DataCheck) for table in tables]
    for check in checks:
        refuse_unsound(check, "check")
    return checks


def test_each_kind_of_column_has_its_checks(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    rows = "".join(f"{n},{n / 10},{'ab'[n % 2]},2026-01-{n % 28 + 1:02}\n" for n in range(100))
    file.write_text(f"id,x,kind,at\n{rows}")
    assert proposed(file) == [
        DataCheck(rows_min=50, rows_max=1000),
        DataCheck(column="id", type="number", missing_max=0.0, unique=True),
        DataCheck(column="x", type="number", missing_max=0.01),
        DataCheck(column="x", min=0, max=10.9, severity="quarantine"),
        DataCheck(column="kind", type="text", missing_max=0.01),
        DataCheck(column="kind", values=["a", "b"], severity="quarantine"),
        DataCheck(column="at", type="time", missing_max=0.01),
    ]


columns = st.one_of(
    st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1, max_size=30).map(
        lambda values: pa.array(values, pa.int64())
    ),
    st.lists(st.none() | st.floats(), min_size=1, max_size=30).map(
        lambda values: pa.array(values, pa.float64())
    ),
    st.lists(st.none() | st.sampled_from(HOSTILE), min_size=1, max_size=30).map(
        lambda values: pa.array(values, pa.string())
    ),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=30).map(
        lambda values: pa.array(values, pa.bool_())
    ),
)


@given(columns, st.sampled_from(HOSTILE))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_good_version_passes(tmp_path: Path, values: pa.Array, name: str) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({name: values}), file)
    report = check_table(file, proposed(file), Surroundings(NOW))
    assert [one.complaint for one in report.checks if not one.passed] == []
