"""A changed treadle.toml takes effect while a home runs, and says when each key does."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from treadle.cli.scaffold import scaffold
from treadle.kernel.entity import replace
from treadle.platform.wiring import Embedded
from treadle.scope.changes import changes
from treadle.scope.file import FILE, read
from treadle.scope.model import About, DataSource, ProjectSpec, Requirement

R1 = Requirement(id="R1", metric="roc_auc", at_least=0.6)
SPEC = ProjectSpec(
    project=About(name="churn"),
    data={"rows": DataSource(source="rows.csv", label="y")},
    requirement=[R1],
)


def test_changes_name_the_key_and_when_it_takes_effect() -> None:
    after = replace(
        SPEC,
        data={"rows": DataSource(source="other.csv", label="y")},
        requirement=[replace(R1, at_least=0.7)],
        rollout=replace(SPEC.rollout, steps=["50%"]),
        monitoring=replace(SPEC.monitoring, effect=0.3),
    )
    found = {one.key: (one.before, one.after, one.takes_effect) for one in changes(SPEC, after)}
    assert found == {
        "data.rows.source": ("rows.csv", "other.csv", "with the next run"),
        "monitoring.effect": (0.1, 0.3, "now"),
        "requirement.R1.at_least": (0.6, 0.7, "now"),
        "rollout.steps": (SPEC.rollout.steps, ["50%"], "with the next rollout"),
    }
    assert changes(SPEC, SPEC) == []
    removed = changes(SPEC, replace(SPEC, requirement=[]))
    assert {(one.key, one.after) for one in removed} >= {("requirement.R1.at_least", None)}


@pytest.fixture
def home(open_home: Callable[..., Embedded], tmp_path: Path) -> Embedded:
    home = open_home()
    scaffold("shop", tmp_path)
    home.scope.declare_in(spec=read(tmp_path / "shop"), folder=str(tmp_path / "shop"))
    return home


def edit(folder: Path, before: str, after: str) -> None:
    text = (folder / FILE).read_text(encoding="utf-8")
    assert before in text
    (folder / FILE).write_text(text.replace(before, after, 1), encoding="utf-8")
    later = time.time() + 0.5  # file systems keep whole ticks only
    os.utime(folder / FILE, (later, later))


def test_an_edited_file_is_applied_once_and_its_author_is_named(
    home: Embedded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert home.scope.reconcile() == 0
    edit(tmp_path / "shop", "[monitoring]\n", "[monitoring]\neffect = 0.25\n")
    with caplog.at_level(logging.INFO):
        assert home.scope.reconcile() == 1
    assert home.scope.project(name="shop").spec.monitoring.effect == 0.25
    assert "project 'shop': monitoring.effect was 0.1 and is 0.25, now" in caplog.text
    newest = home.events.history(newest_first=True, limit=1)[0]
    assert (newest.type, newest.actor) == ("ProjectDeclared", FILE)
    assert home.scope.reconcile() == 0


def test_a_broken_file_is_logged_once_and_changes_nothing(
    home: Embedded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = home.scope.project(name="shop")
    edit(tmp_path / "shop", "[project]\n", "[project]\nnmae = 1\n")
    for _ in range(2):
        assert home.scope.reconcile() == 0
    assert caplog.text.count("a changed file is not applied") == 1
    (waiting,) = home.loop.status(project="shop").waiting
    assert waiting.startswith("a changed treadle.toml is not applied: ")
    assert "line 2: Unknown field 'project.nmae'. Did you mean 'name'?" in waiting
    assert home.scope.project(name="shop") == before


def test_an_older_file_and_a_missing_folder_change_nothing(home: Embedded, tmp_path: Path) -> None:
    changed = replace(home.scope.project(name="shop").spec, requirement=[])
    home.scope.declare_in(spec=changed, folder=str(tmp_path / "shop"))  # by a person, later
    assert home.scope.reconcile() == 0
    assert home.scope.project(name="shop").spec.requirement == []
    home.scope.declare_in(spec=SPEC, folder=str(tmp_path / "nowhere"))
    assert home.scope.reconcile() == 0
