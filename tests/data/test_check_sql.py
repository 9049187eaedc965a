"""A check's own SQL sees the rows and nothing else."""

from pathlib import Path

import pytest

from treadle.data import check_sql
from treadle.data.check_sql import violating
from treadle.data.opened_table import open_table
from treadle.kernel.errors import Invalid

a_variable = {"secret": [1]}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text("id,age\n1,30\n2,-4\n3,200\n")
    return file


def run(file: Path, statement: str) -> check_sql.Returned:
    with open_table(file) as table:
        return violating(table, statement, examples=5)


def test_rows_that_are_returned_are_numbered(rows: Path) -> None:
    found = run(rows, "SELECT * FROM rows WHERE age NOT BETWEEN 0 AND 120 -- strange")
    assert (found.total, found.rows) == (2, [1, 2])
    assert found.examples[0].row == 1 and found.examples[0].values == {"id": "2", "age": "-4"}
    assert run(rows, "SELECT id FROM rows WHERE age < 0;").rows is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM read_blob('{other}')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM sniff_csv('{other}')",
        "SELECT * FROM query('SELECT * FROM read_text(''{other}'')')",
        "SELECT * FROM query('COPY rows TO ''{folder}/made''')",
        "SELECT * FROM rows) TO '{folder}/made' --",
        "SELECT 1; COPY rows TO '{folder}/made'",
        "COPY rows TO '{folder}/made'",
        "COPY rows FROM '{other}'",
        "ATTACH '{folder}/made'",
        "EXPORT DATABASE '{folder}/made'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "LOAD '{folder}/x.duckdb_extension'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "PRAGMA database_list",
        "CREATE TABLE made (a INTEGER)",
        "CREATE SECRET (TYPE s3)",
        "INSERT INTO rows SELECT * FROM rows",
        "DELETE FROM rows",
        "SELECT * FROM a_variable",
        "SELECT * FROM 'https://example.com/x.csv'",
        "SELECT getenv('HOME')",
        "",
        "SELEC",
    ],
)
def test_hostile_sql_reaches_nothing(rows: Path, tmp_path: Path, statement: str) -> None:
    (tmp_path / "other.csv").write_text("a\nsecret\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(Invalid, match=r"The check.s SQL|A check.s SQL is one SELECT") as refused:
        run(rows, statement.format(other=tmp_path / "other.csv", folder=tmp_path))
    assert "secret\n" not in refused.value.message
    assert sorted(tmp_path.iterdir()) == before


def test_sql_that_does_not_end_is_ended(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_sql, "SECONDS", 0.3)
    endless = "SELECT a.range FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = -1"
    with pytest.raises(Invalid, match=r"ran for more than 0\.3 s"):
        run(rows, endless)


def test_a_column_with_the_name_of_the_row_number_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("_ROW,a\n1,2\n")
    with pytest.raises(Invalid, match="need the name '_row'"):
        run(file, "SELECT * FROM rows")
