"""``treadle tune`` trains trials of a project in processes; killed ones lose and repeat nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from treadle.data.erasing.subject import Subject
from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid
from treadle.pipelines.perform import StepTask
from treadle.platform.collect import collect
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.ports.sandbox import Task
from treadle.scope.file import read

PIPELINE = """
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.tree import DecisionTreeClassifier

import treadle


@treadle.step
def table(rows: Path) -> pd.DataFrame:
    return pd.read_csv(rows)


@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    return table[CHOSEN]


@treadle.step
def model(table: pd.DataFrame, depth: int = 1) -> treadle.Model:
    train = table[~treadle.held_out(table, "id")]
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
    return treadle.Model(tree.fit(train[["x", "z"]], train["y"]), train[["x", "z"]])
"""
DECLARED = """
[project]
name = "xor"

[data.rows]
source = "rows.csv"
label = "y"
id = "id"
task = "binary"

[pipeline.parameters]
depth = 1   # too shallow

[tune]
metric = "roc_auc"
trials = {trials}
workers = 2

[tune.space]
depth = [1, 2, 4]

[tune.constraint]
latency_ms = "<= 10000"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose label is an exclusive or: a tree of depth 1 cannot learn it."""
    made = [(i, (i * 37 % 101) / 101, (i * 53 % 97) / 97) for i in range(1200)]
    rows = [f"{i},{x},{z},{int((x > 0.5) != (z > 0.5))}" for i, x, z in made]
    (tmp_path / "rows.csv").write_text("\n".join(["id,x,z,y", *rows]) + "\n")
    pipeline = PIPELINE.replace("CHOSEN", 'treadle.held_out(table, "id")')
    (tmp_path / "pipeline.py").write_text(pipeline)
    (tmp_path / "treadle.toml").write_text(DECLARED.format(trials=4))
    return tmp_path


def treadle(project: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "treadle", *arguments],
        cwd=project,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def trials_of(platform: Embedded) -> list[Any]:
    found = platform.tuning.studies(limit=1)
    return platform.tuning.trials(study=found[0].name) if found else []


def test_a_killed_worker_and_a_killed_command_lose_and_repeat_no_trial(project: Path) -> None:
    command = treadle(project, "tune")
    with embedded(project / ".treadle") as platform:
        _until(lambda: any(one.state == "finished" for one in trials_of(platform)), command)
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate()
        before = {one.number: one for one in trials_of(platform) if one.state == "finished"}
        resumed = treadle(project, "tune", "--resume", "--json")
        out, err = resumed.communicate(timeout=240)
        assert resumed.returncode == 0, err
        trials = trials_of(platform)
        assert [one.number for one in trials] == [0, 1, 2, 3]
        assert {one.state for one in trials} == {"finished"}
        assert {one.number: one for one in trials if one.number in before} == before
        best = json.loads(out)["best"][0]
        assert best["params"]["depth"] > 1 or len({one.params["depth"] for one in trials}) == 1
        assert best["metrics"].keys() == {"roc_auc", "latency_ms", "size_mb"}
        # The table that trials were judged on and the holdout have no row in common.
        assert len(platform.tracking.find(project="xor")) >= 5
    applied = treadle(project, "tune", "apply")
    assert applied.communicate(timeout=60)[1] == ""
    depth = best["params"]["depth"]
    assert f"depth = {depth}   # too shallow" in (project / "treadle.toml").read_text()


def _until(reached: Any, command: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert time.monotonic() < deadline
        assert command.poll() is None, command.communicate()
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("depth = [1, 2, 4]", "dept = [1]", "No step asks for the parameter 'dept'"),
        ('metric = "roc_auc"', 'metric = "auc"', "nothing measures 'auc' of a trial"),
        ('metric = "roc_auc"', 'metric = "rmse"', "nothing measures 'rmse' of a binary task"),
        (
            'label = "y"\nid = "id"\ntask = "binary"',
            'task = "anomaly"',
            "and treadle.toml names no label",
        ),
        ("depth = [1, 2, 4]", "depth = { low = 4, high = 2 }", "low 4 is above high 2"),
    ],
)
def test_what_cannot_be_tuned_is_said_before_anything_begins(
    project: Path, old: str, new: str, message: str
) -> None:
    file = project / "treadle.toml"
    file.write_text(file.read_text().replace(old, new))
    with embedded(project / ".treadle") as platform, pytest.raises(Invalid, match=message):
        platform.scope.declare_in(spec=read(project), folder=str(project))
        platform.tuning.plan_of("xor")
    with embedded(project / ".treadle") as platform:
        assert platform.tuning.studies() == []


def test_a_person_is_erased_from_what_trials_made_and_the_study_goes_on(project: Path) -> None:
    rows = (project / "rows.csv").read_text().splitlines()
    people = ["email", ADA, *(f"{number}@x.example" for number in range(len(rows) - 2))]
    lines = [f"{row},{email}" for row, email in zip(rows, people, strict=True)]
    (project / "rows.csv").write_text("\n".join(lines) + "\n")
    home = project / ".treadle"
    with embedded(home) as platform:
        platform.scope.declare_in(spec=read(project), folder=str(project))
        platform.tuning.start_of("xor", "s")
        one_trial(platform)
        assert holding(home, ADA)
        begun = platform.erasure.begin([Subject(key="email", value=ADA)], "xor")
        erased = platform.erasure.finish(begun.id)
        assert {"rows that study 's' took", "what a trial made"} <= {
            place.what.partition(" (")[0] for place in erased.places
        }
        assert holding(home, ADA) == []
        collect(platform, older_than_seconds=0)
        one_trial(platform)
        assert holding(home, ADA) == []
        assert platform.tuning.get(study="s").counts == {"finished": 2}


ADA = "ada.lovelace@analytical.example"


def one_trial(platform: Embedded) -> None:
    trial = platform.tuning.ask(study="s")
    assert trial is not None
    metrics = platform.tuning.perform(study="s", number=trial.number)
    platform.tuning.tell(
        study="s", number=trial.number, attempt=1, state="finished", metrics=metrics
    )


def holding(folder: Path, text: str) -> list[str]:
    """The files below a folder that have a text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if text.encode() in path.read_bytes())


LEFT_OUT = '~treadle.held_out(table, "id")'


@pytest.mark.parametrize(
    ("step", "rows", "message"),
    [
        (
            "model(table: pd.DataFrame, holdout: pd.DataFrame, ",
            '~table["id"].isin(holdout["id"])',
            r"Step 'model' depends on step 'holdout', which in a trial returns validation rows",
        ),
        ("model(table: pd.DataFrame, ", 'table["id"] % 4 > 0', r"No step on the way to 'model'"),
    ],
)
def test_a_model_that_may_have_learnt_from_the_holdout_is_refused(
    project: Path, step: str, rows: str, message: str
) -> None:
    file = project / "pipeline.py"
    code = file.read_text().replace("model(table: pd.DataFrame, ", step).replace(LEFT_OUT, rows)
    file.write_text(code)
    with embedded(project / ".treadle") as platform:
        platform.scope.declare_in(spec=read(project), folder=str(project))
        platform.tuning.start_of("xor", "s")
        for _ in range(2):  # now, and out of the cache
            trial = platform.tuning.ask(study="s")
            assert trial is not None
            with pytest.raises(Invalid, match=message):
                platform.tuning.perform(study="s", number=trial.number)


def test_a_model_that_depends_on_the_holdout_is_refused_before_it_is_trained(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "pipeline.py"
    taking = "model(table: pd.DataFrame, holdout: pd.DataFrame, "
    file.write_text(file.read_text().replace("model(table: pd.DataFrame, ", taking))
    with embedded(project / ".treadle") as platform:
        platform.scope.declare_in(spec=read(project), folder=str(project))
        platform.tuning.start_of("xor", "s")
        done: list[str] = []
        call = platform.sandbox.call

        def noted(task: Task) -> object:
            done.append(from_plain(task.argument, StepTask).step)
            return call(task)

        monkeypatch.setattr(platform.sandbox, "call", noted)
        assert platform.tuning.ask(study="s") is not None
        with pytest.raises(Invalid, match="Step 'model' depends on step 'holdout'"):
            platform.tuning.perform(study="s", number=0)
    assert done == ["table"]


def test_a_holdout_that_is_chosen_otherwise_is_refused(project: Path) -> None:
    file = project / "pipeline.py"
    file.write_text(file.read_text().replace('table[treadle.held_out(table, "id")]', "table[:300]"))
    with embedded(project / ".treadle") as platform:
        platform.scope.declare_in(spec=read(project), folder=str(project))
        platform.tuning.start_of("xor", "s")
        trial = platform.tuning.ask(study="s")
        assert trial is not None
        with pytest.raises(Invalid, match=r"'holdout' does not choose its rows with treadle\.held"):
            platform.tuning.perform(study="s", number=0)
