"""The verbs of data quality work on files, without a home, for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from treadle.cli.main import app
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.scope.data_checks import DataCheck
from treadle.scope.model import About, DataSource, ProjectSpec

ROWS = "id,age,town\n1,30,a\n2,-4,b\n3,28,[red]\n"
CHECKS = """[project]
name = "p"
[data.rows]
source = "rows.csv"
label = "town"
[[data.rows.checks]]
column = "age"
min = 0
severity = "{}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments: str) -> Result:
    ended = CliRunner().invoke(app, ["data", *arguments])
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended


def test_a_file_is_described(folder: Path) -> None:
    said = run("describe", "rows.csv").stdout
    assert "3 rows, 3 columns" in said and "[red] 1" in said
    found = json.loads(run("describe", "rows.csv", "--json").stdout)
    assert [one["name"] for one in found["columns"]] == ["id", "age", "town"]
    assert not (folder / ".treadle").exists()


def test_a_page_holds_its_pictures(folder: Path) -> None:
    run("describe", "rows.csv", "--html", "profile.html")
    page = (folder / "profile.html").read_text()
    assert page.count("<svg") == 2 and "color-scheme: light dark" in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("severity, code", [("refuse", 1), ("quarantine", 0), ("warn", 0)])
def test_a_failed_check_ends_with_1_where_it_refuses(
    folder: Path, severity: str, code: int
) -> None:
    (folder / "treadle.toml").write_text(CHECKS.format(severity))
    ended = run("check", "rows.csv")
    assert ended.exit_code == code
    assert "age: at least 0" in ended.stdout and "row 1: age=-4" in ended.stdout
    found = json.loads(run("check", str(folder / "rows.csv"), "--json").stdout)
    assert found["checks"][0]["violations"] == 1


def test_checks_come_from_another_file(folder: Path) -> None:
    suite = {
        "expectations": [
            {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "town"}}
        ]
    }
    (folder / "suite.json").write_text(json.dumps(suite))
    assert run("check", "rows.csv", "--checks", "suite.json").exit_code == 0
    assert "unique = true" in run("suggest", "suite.json").stdout
    suite["expectations"][0]["type"] = "expect_column_sum_to_be_between"
    (folder / "suite.json").write_text(json.dumps(suite))
    with pytest.raises(Invalid, match="expect_column_sum_to_be_between"):
        run("check", "rows.csv", "--checks", "suite.json")
    assert "# not translated: expect_column_sum" in run("suggest", "suite.json").stdout
    with pytest.raises(Invalid, match=r"No checks are declared for 'rows\.csv'"):
        run("check", "rows.csv")


def test_two_files_are_compared(folder: Path) -> None:
    (folder / "new.csv").write_text(ROWS.replace("-4", "4"))
    said = run("compare", "rows.csv", "new.csv", "--by", "id").stdout
    assert "0 added, 0 removed, 1 changed" in said and "age: -4 → 4" in said
    found = json.loads(run("compare", "rows.csv", "new.csv", "--json").stdout)
    assert (found["added"], found["removed"]) == (1, 1)
    with pytest.raises(Invalid, match="Compare two files, or two versions"):
        run("compare", "rows.csv", "rows")


def test_leaks_of_files_are_named(folder: Path) -> None:
    (folder / "new.csv").write_text("id,age,town\n9,30,a\n")
    said = run("leaks", "rows.csv", "--id", "id", "--holdout", "new.csv").stdout
    assert "1 rows of the holdout are learnt from" in said
    assert json.loads(run("leaks", "rows.csv", "--json").stdout)["leaks"] == []


def test_versions_of_a_project_are_named_by_their_digest(
    folder: Path, open_home: Callable[..., Embedded]
) -> None:
    home = open_home()
    check = DataCheck(column="age", min=0)
    source = DataSource(source="rows.csv", label="town", checks=[check])
    for content, checks in ((ROWS, []), (ROWS.replace("-4", "4"), [check])):
        (folder / "rows.csv").write_text(content)
        declared = {"rows": replace(source, checks=checks)}
        spec = ProjectSpec(project=About(name="p"), data=declared)
        home.scope.declare_in(spec=spec, folder=str(folder))
        home.data.snapshot(project="p")
    versions = home.data.versions(project="p", name="rows")
    old = next(one for one in versions if one.bytes == len(ROWS)).ref
    new = next(one for one in versions if one.bytes != len(ROWS)).ref
    at = ("--home", str(folder / "home"))
    assert run("check", new, *at).exit_code == 0
    assert run("check", old, *at, "--json").exit_code == 1
    assert "3 rows, 3 columns" in run("describe", old, *at).stdout
    said = run("compare", old, new.partition("@")[2], "--by", "id", *at).stdout
    assert "age: -4 → 4" in said
    assert "[[data.rows.checks]]" in run("suggest", new, *at).stdout
    assert "No leak" in run("leaks", new, *at).stdout
    with pytest.raises(NotFound, match="has no version 0123"):
        run("describe", "rows@0123", *at)


def test_checks_that_the_home_does_not_know_are_not_passed_over_in_silence(
    folder: Path, open_home: Callable[..., Embedded]
) -> None:
    home = open_home()
    source = DataSource(source="rows.csv", label="town")
    spec = ProjectSpec(project=About(name="p"), data={"rows": source})
    home.scope.declare_in(spec=spec, folder=str(folder))
    home.data.snapshot(project="p")
    at = ("--home", str(folder / "home"))
    with pytest.raises(Invalid, match=r"No checks are declared for dataset 'rows' here.*apply"):
        run("check", "rows", *at)
    (folder / "treadle.toml").write_text(CHECKS.format("warn"))
    checked = replace(source, checks=[DataCheck(column="age")])
    spec = ProjectSpec(project=About(name="p"), data={"rows": checked})
    home.scope.declare_in(spec=spec, folder=str(folder))
    ended = run("check", "rows", *at)
    assert ended.exit_code == 0
    assert "treadle.toml declares others by now" in ended.stderr


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(NotFound, match=r"no file or folder at 'gone\.csv'"):
        run("describe", "gone.csv")
    with pytest.raises(NotFound, match="There is no home"):
        run("describe", "rows")
