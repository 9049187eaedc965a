"""The verbs that people read by: runs, artifacts, models and data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.cli.output import console, show_bytes, show_duration, sparkline
from treadle.kernel.errors import TreadleError
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files, read_tree
from treadle.scope.file import parse
from treadle.tracking.model import Dataset, Metric

TOML = """
[project]
name = "shop"
[data.rows]
source = "rows.csv"
label = "left"
[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.6
"""


@pytest.fixture
def home(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Embedded:
    """A home with three runs, two datasets' versions, and a command line that works on it."""
    platform = open_home()
    monkeypatch.setenv("TREADLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 200)
    platform.scope.declare(spec=parse(TOML))
    tracking = platform.tracking
    for name, depth, auc in (("one", "3", 0.7), ("two", "4", 0.8), ("three", "3", 0.9)):
        run = tracking.start_run(
            experiment="shop", project="shop", name=name, id=f"run_{name}", params={"depth": depth}
        )
        points = [Metric(key="loss", value=1 / (step + 1), step=step) for step in range(8)]
        tracking.log(run=run.id, metrics=[*points, Metric(key="roc_auc", value=auc)])
        if name != "three":
            tracking.finish_run(run=run.id)
    return platform


def said(*words: str) -> str:
    """What a verb prints, as one line per line without what follows at its end."""
    ended = CliRunner().invoke(app, list(words))
    assert ended.exception is None, ended.exception
    return "\n".join(line.rstrip() for line in ended.stdout.splitlines())


def refused(*words: str) -> str:
    """The sentence that a verb refuses with."""
    ended = CliRunner().invoke(app, list(words))
    assert isinstance(ended.exception, TreadleError), ended.output
    return ended.exception.message


def given(*words: str) -> Any:
    return json.loads(said(*words, "--json"))


def test_runs_are_listed_with_the_required_metric_first(home: Embedded) -> None:
    head, *lines = said("runs").splitlines()
    assert head.split() == [
        *("id", "name", "experiment", "status", "started", "duration", "roc_auc", "loss"),
    ]
    assert [line.split()[1] for line in lines] == ["three", "two", "one"]
    assert lines[0].split()[3] == "running"
    assert lines[2].split()[-2:] == ["0.7", "0.125"]


def test_runs_are_filtered_sorted_and_cut(home: Embedded) -> None:
    kept = given("runs", "--where", "metrics.roc_auc > 0.75", "--sort", "metrics.roc_auc")
    assert [run["name"] for run in kept] == ["two", "three"]
    assert [run["name"] for run in given("runs", "list", "--limit", "1")] == ["three"]
    assert "The first 1 are shown; more with --limit." in said("runs", "--limit", "1")
    assert said("runs", "--where", "params.depth = '9'").startswith("No run satisfies: ")


def test_an_empty_home_says_what_to_type(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_home()
    monkeypatch.setenv("TREADLE_HOME", str(tmp_path / "home"))
    assert "treadle run" in said("runs")
    assert "treadle register NAME SOURCE" in said("models")
    assert "treadle run" in said("data", "--project", "none-yet")


def test_one_run_is_shown_with_the_course_of_its_metrics(home: Embedded) -> None:
    home.tracking.use_data(run="run_one", datasets=[Dataset(name="rows", digest="d" * 64)])
    home.tracking.log(run="run_one", tags={"team": "x"})
    told = said("runs", "show", "one")
    assert "run_one  one  finished" in told
    assert "█▄▃▂▂▁▁▁" in told
    assert "dddddddddddd" in told
    for words in (["depth", "3"], ["team", "x"]):
        assert words in [line.split() for line in told.splitlines()]
    assert given("runs", "show", "run_o")["run"]["params"] == {"depth": "3"}


def test_what_differs_between_three_runs_stands_in_a_column_for_each(home: Embedded) -> None:
    rows = [line.split() for line in said("runs", "compare", "one", "two", "three").splitlines()]
    assert rows[0] == ["of", "what", "one", "two", "three"]
    assert ["param", "depth", "3", "4", "3"] in rows
    assert ["metric", "roc_auc", "0.7", "0.8", "0.9"] in rows
    assert refused("runs", "compare", "one").startswith("One run alone")


def keep_files(home: Embedded) -> None:
    """Attach a file and a folder to a run."""
    note = home.blobs.put(b"hello")
    home.tracking.add_artifact(run="run_one", path="notes/a.txt", digest=note, bytes=5)
    tree = put_files(home.blobs, {"model.onnx": b"model", "sub/x.json": b"{}"})
    size = read_tree(home.blobs, tree).bytes
    home.tracking.add_artifact(run="run_one", path="model", digest=tree, bytes=size)


def test_artifacts_are_listed_and_got_as_files_and_folders(home: Embedded, tmp_path: Path) -> None:
    keep_files(home)
    assert [line.split()[0] for line in said("artifacts", "list", "one").splitlines()] == [
        *("path", "model", "notes/a.txt"),
    ]
    out = tmp_path / "out"
    assert said("artifacts", "get", "one", "model", str(out)).startswith("Wrote 2 files into")
    said("artifacts", "get", "one", "model/sub/x.json", str(out / "deep"))
    said("artifacts", "get", "one", "notes/a.txt", str(out))
    files = {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*.*")}
    assert files == {
        "model/model.onnx": b"model",
        "model/sub/x.json": b"{}",
        "deep/x.json": b"{}",
        "a.txt": b"hello",
    }


def test_a_file_that_is_there_is_replaced_only_when_asked(home: Embedded, tmp_path: Path) -> None:
    keep_files(home)
    (tmp_path / "a.txt").write_text("mine")
    assert "is there already; nothing was written." in refused(
        "artifacts", "get", "one", "notes/a.txt", str(tmp_path)
    )
    assert (tmp_path / "a.txt").read_text() == "mine"
    said("artifacts", "get", "one", "notes/a.txt", str(tmp_path), "--over")
    assert (tmp_path / "a.txt").read_text() == "hello"


@pytest.mark.parametrize("path", ["model/../../../../etc/x", "model/link/x"])
def test_no_artifact_is_written_outside_of_the_destination(
    path: str, home: Embedded, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    (out / "model" / "link").symlink_to(tmp_path)
    note = home.blobs.put(b"hello")
    home.tracking.add_artifact(run="run_one", path=path, digest=note, bytes=5)
    message = refused("artifacts", "get", "one", "model", str(out))
    assert message == f"'{path}' would be written outside of '{out}'; nothing was written."
    assert not (tmp_path / "x").exists()
    assert list(out.rglob("*")) == [out / "model", out / "model" / "link"]


def test_a_missing_artifact_is_answered_with_the_near_miss(home: Embedded) -> None:
    keep_files(home)
    assert refused("artifacts", "get", "one", "modle", ".").endswith("Did you mean 'model'?")


def test_the_operations_of_data_stay_beside_the_verb(home: Embedded) -> None:
    assert given("data", "versions", "--project", "shop") == []


def test_numbers_read_as_people_write_them() -> None:
    assert [show_bytes(size) for size in (0, 999, 1_500, 2.5e9)] == [
        *("0 B", "999 B", "1.5 kB", "2.5 GB"),
    ]
    assert [show_duration(seconds) for seconds in (1.25, 61, 7_500, 200_000)] == [
        *("1.2 s", "1 min", "2 h 05 min", "2 d 7 h"),
    ]
    assert sparkline([0, None, 7, 3.5]) == "▁ █▅"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([None]) == ""
