"""What was kept of a run is enough to run it again; the report tells what differed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import models
from tests.platform.test_up import PROJECT, up
from treadle.kernel.entity import replace, to_json
from treadle.kernel.errors import Conflict, NotFound, Unavailable
from treadle.platform.remote import connect
from treadle.platform.rerun import Rerun
from treadle.platform.rerun_environment import changed_packages
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.tracking.environment import ENVIRONMENT, capture

PIPELINE = """
from pathlib import Path

import pandas as pd
import treadle
from sklearn.linear_model import LogisticRegression

@treadle.step
def table(rows: Path) -> pd.DataFrame:
    return pd.read_csv(rows)

@treadle.step
def holdout(table: pd.DataFrame) -> pd.DataFrame:
    return table.tail(200)

@treadle.step
def model(table: pd.DataFrame, strength: float = 1.0) -> treadle.Model:
    train = table.head(len(table) - 200)
    inputs = train.select_dtypes("number").drop(columns="y")
    return treadle.Model(LogisticRegression(C=strength).fit(inputs, train.y), inputs)
"""
SCRIPT = """
import sys
import random
import treadle
import scale

params = {"factor": scale.FACTOR}
with treadle.run("scripts", params=params, seed=5, home=sys.argv[1], system_metrics=False) as run:
    run.use_data("data/numbers.txt")
    numbers = [float(line) for line in open("data/numbers.txt")]
    for step, number in enumerate(numbers):
        run.log(step=step, total=number * scale.FACTOR + random.random())
    print(run.id)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Embedded, Path, str]]:
    """A platform, its project's folder, and the run of a training that was judged."""
    project = tmp_path_factory.mktemp("project")
    (project / "treadle.toml").write_text(PROJECT)
    (project / "pipeline.py").write_text(PIPELINE)
    models.rows().to_csv(project / "rows.csv", index=False)
    done = ran("run", "--json", cwd=project)
    with embedded(project / ".treadle") as platform:
        yield platform, project, json.loads(done)["run"]


def ran(*arguments: str, cwd: Path, code: int = 0) -> str:
    command = [sys.executable, "-m", "treadle", *arguments]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_training_run_again_gives_equal_metrics_and_the_same_tables(
    trained: tuple[Embedded, Path, str],
) -> None:
    platform, _, run = trained
    found = Rerun(platform, run).done()
    assert (found.outcome, found.differences, found.notes) == ("equal", [], [])
    assert [(pair.key, pair.likeness) for pair in found.metrics] == [("roc_auc", "equal")]
    assert sorted([*found.identical_outputs, *found.other_outputs]) == ["holdout", "model", "table"]
    assert {"holdout", "table"} <= set(
        found.identical_outputs
    )  # threads of a solver may add up in another order
    again = platform.tracking.get(run=found.again)
    assert (again.status, again.tags["treadle.rerun_of"]) == ("finished", run)
    assert len(platform.training.find()) == 1, "what is run again is no candidate"


def test_the_line_that_was_changed_is_named(
    trained: tuple[Embedded, Path, str], tmp_path: Path
) -> None:
    platform, project, run = trained
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("C=strength", "C=strength / 1e4"))
    found = Rerun(platform, run, code=tmp_path).done()
    assert found.outcome == "different"
    (line,) = found.differences
    number = (
        PIPELINE.splitlines().index(
            "    return treadle.Model(LogisticRegression(C=strength).fit(inputs, train.y), inputs)"
        )
        + 1
    )
    assert (line.of, line.key) == ("code", f"pipeline.py:{number}")
    assert "C=strength)" in str(line.a) and "C=strength / 1e4)" in str(line.b)
    assert "model" in found.other_outputs
    told = ran("rerun", run, "--code", str(tmp_path), "--tolerance", "10", cwd=project)
    assert f"code pipeline.py:{number}" in told and "Metrics: within tolerance" in told
    assert "C=strength / 1e4" in ran("compare", run, found.again, cwd=project)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "numbers.txt").write_text("1\n2\n3\n")
    (folder / "scale.py").write_text("FACTOR = 3\n")
    (folder / "train.py").write_text(SCRIPT)
    return folder


def recorded(script: Path, home: Path) -> str:
    command = [sys.executable, "train.py", str(home)]
    return subprocess.run(
        command, cwd=script, capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()


def test_a_script_run_again_reads_the_data_it_read_then(script: Path, tmp_path: Path) -> None:
    run = recorded(script, tmp_path / "home")
    (script / "data" / "numbers.txt").write_text("9\n")
    (script / "scale.py").write_text("FACTOR = 30\n")
    with embedded(tmp_path / "home") as platform:
        found = Rerun(platform, run).done()
        assert (found.outcome, found.differences) == ("equal", [])
        assert [(pair.key, pair.points) for pair in found.metrics] == [("total", 3)]
        changed = Rerun(platform, run, code=script).done()
        assert changed.outcome == "different"
        assert [(one.of, one.key, one.a, one.b) for one in changed.differences] == [
            ("code", "scale.py:1", "FACTOR = 3", "FACTOR = 30"),
            ("param", "factor", "3", "30"),
        ]


@pytest.fixture
def beside(script: Path) -> Path:
    """A dataset outside of the script's folder, which the script names by a relative path."""
    data = script.parent / "a" / "numbers.txt"
    data.parent.mkdir()
    (script / "data" / "numbers.txt").rename(data)
    (script / "train.py").write_text(SCRIPT.replace("data/numbers.txt", "../a/numbers.txt"))
    return data


def test_data_outside_of_the_scripts_folder_are_read_as_they_were_kept(
    script: Path, beside: Path, tmp_path: Path
) -> None:
    run = recorded(script, tmp_path / "home")
    with embedded(tmp_path / "home") as platform:
        unchanged = Rerun(platform, run).done()
        assert (unchanged.outcome, unchanged.differences, unchanged.notes) == ("equal", [], [])
        beside.write_text("9\n")
        changed = Rerun(platform, run).done()
        assert (changed.outcome, changed.differences) == ("equal", [])
        (note,) = changed.notes
        assert note.startswith(f"Dataset 'numbers' at '{beside}' has changed since: ")
        beside.unlink()
        removed = Rerun(platform, run, code=script).done()
        assert (removed.outcome, removed.differences) == ("equal", [])
        (note,) = removed.notes
        assert note.startswith(f"Dataset 'numbers' is not at '{beside}' any more: ")


def test_data_outside_of_the_scripts_folder_that_were_not_kept_are_read_where_they_are(
    script: Path, beside: Path, tmp_path: Path
) -> None:
    text = (script / "train.py").read_text()
    (script / "train.py").write_text(text.replace('numbers.txt")', 'numbers.txt", keep=False)', 1))
    run = recorded(script, tmp_path / "home")
    with embedded(tmp_path / "home") as platform:
        found = Rerun(platform, run).done()
        assert (found.outcome, found.differences, found.notes) == ("equal", [], [])
        beside.unlink()
        with pytest.raises(Conflict, match="The data that it reads are gone") as raised:
            Rerun(platform, run).done()
        assert "Traceback" not in raised.value.message
        assert str(beside) in raised.value.message


def test_a_run_of_a_server_is_run_again_from_here(script: Path, tmp_path: Path) -> None:
    run = recorded(script, tmp_path / "home")
    with up(tmp_path / "home") as url, connect(url) as server:
        found = Rerun(server, run).done()
        assert found.outcome == "equal"
        assert server.tracking.get(run=found.again).tags["treadle.rerun_of"] == run


def test_a_command_that_fails_this_time_is_told_with_its_words(
    script: Path, tmp_path: Path
) -> None:
    run = recorded(script, tmp_path / "home")
    (script / "scale.py").write_text("raise ValueError('too small')\n")
    with embedded(tmp_path / "home") as platform:
        with pytest.raises(Conflict, match="too small"):
            Rerun(platform, run, code=script).done()
        with pytest.raises(NotFound, match="no folder"):
            Rerun(platform, run, code=script / "nowhere").done()
        bare = platform.tracking.start_run(experiment="e").id
        with pytest.raises(Conflict, match="its code was not kept"):
            Rerun(platform, bare)


def test_a_run_from_a_console_says_that_it_cannot_be_run_again(
    script: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    lines = (
        f"import treadle\nrun = treadle.run('e', home={str(home)!r})\nrun.finish()\nprint(run.id)\n"
    )
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=script, check=True)
    typed = subprocess.run(
        [sys.executable, "-iq"], input=lines, cwd=script, capture_output=True, text=True, timeout=60
    )
    run = next(word for word in typed.stdout.split() if word.startswith("run_"))
    with embedded(home) as platform, pytest.raises(Conflict, match="came from a console"):
        Rerun(platform, run).done()


def note_packages(platform: Embedded, run: str, packages: dict[str, str]) -> None:
    """As if the run had had other packages."""
    before = platform.tracking.environment(run=run)
    assert before is not None
    content = to_json(replace(before, packages=packages))
    digest = platform.blobs.put(content)
    platform.tracking.add_artifact(run=run, path=ENVIRONMENT, digest=digest, bytes=len(content))


def needed(name: str, found: dict[str, str]) -> dict[str, str]:
    """A package and all that it needs, as installed here."""
    for wanted in map(Requirement, requires(name) or ()):
        if wanted.name not in found and (
            wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        ):
            with suppress(PackageNotFoundError):
                found[wanted.name] = version(wanted.name)
                needed(wanted.name, found)
    return found


def test_an_environment_is_rebuilt_from_its_pins(script: Path, tmp_path: Path) -> None:
    asked = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--dest",
        str(tmp_path / "w"),
        "rich==14.0.0",
    ]
    if subprocess.run(asked, capture_output=True, check=False, timeout=120).returncode:
        pytest.skip("no package index answers here")
    run = recorded(script, tmp_path / "home")
    with embedded(tmp_path / "home") as platform:
        pins = needed("treadle", {}) | {"rich": "14.0.0", "treadle": version("treadle")}
        note_packages(platform, run, pins)
        found = Rerun(platform, run).done()
        assert found.outcome == "equal" and found.environment.startswith("rebuilt, since ")
        again = platform.tracking.environment(run=found.again)
        assert again is not None and again.packages["rich"] == "14.0.0"
        assert set(map(canonicalize_name, again.packages)) <= {
            *map(canonicalize_name, pins),
            "setuptools",
        }


def test_packages_that_differ_ask_for_a_rebuilt_environment(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded(script, tmp_path / "home")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with embedded(tmp_path / "home") as platform:
        before = platform.tracking.environment(run=run)
        assert before is not None and changed_packages(before, capture(command=[])) == []
        other = {**before.packages, "numpy": "1.0.0"}
        content = to_json(
            {
                "packages": other,
                **{k: getattr(before, k) for k in before.__struct_fields__ if k != "packages"},
            }
        )
        digest = platform.blobs.put(content)
        platform.tracking.add_artifact(run=run, path=ENVIRONMENT, digest=digest, bytes=len(content))
        with pytest.raises(Unavailable, match=r"(?s)could not be built.*--environment this"):
            Rerun(platform, run).done()
        found = Rerun(platform, run, environment="this").done()
        assert found.outcome == "equal" and found.environment == "this one, as it is"
        assert [(one.of, one.key, one.a) for one in found.differences] == [
            ("environment", "package numpy", "1.0.0")
        ]
