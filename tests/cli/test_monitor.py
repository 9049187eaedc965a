"""``treadle monitor`` compares files, for people, for programs and for pipelines that must stop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from treadle.cli.main import app
from treadle.kernel.errors import NotFound


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    random = np.random.default_rng(1)
    for name, shift in (("before", 0.0), ("now", 1.0), ("same", 0.0)):
        frame = pd.DataFrame({"a[b]": random.normal(shift, size=500), "c": random.normal(size=500)})
        frame.to_csv(f"{name}.csv", index=False)


def run(current: str, *options: str) -> Result:
    files = ("--reference", "before.csv", "--current", current)
    ended = CliRunner().invoke(app, ["monitor", "drift", *files, *options])
    if ended.exception and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended


def test_people_see_a_table_and_may_have_a_page() -> None:
    ended = run("now.csv", "--html", "r.html")
    assert ended.exit_code == 0
    assert "1 of 2 columns drifted (500 reference rows, 500 current rows)." in ended.output
    assert "a[b]" in ended.output
    assert "Written to 'r.html'." in ended.output
    assert "a[b]" in Path("r.html").read_text()


def test_programs_get_one_json_value() -> None:
    found: dict[str, Any] = json.loads(run("now.csv", "--json", "--columns", "a[b]").output)
    assert list(found["columns"]) == ["a[b]"]
    assert found["columns"]["a[b]"]["drifted"] is True


def test_a_pipeline_can_stop_at_drift() -> None:
    assert run("now.csv", "--fail-on-drift").exit_code == 3
    assert run("same.csv", "--fail-on-drift").exit_code == 0
    assert run("now.csv", "--fail-on-drift", "--effect", "9").exit_code == 0


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=r"no file 'absent\.csv'"):
        run("absent.csv")
