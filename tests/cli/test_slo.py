"""The verbs of objectives, over a home with an outage."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cli.test_reading import said
from tests.monitoring.test_slos import FAST, UP, minute, watched
from treadle.cli.output import console
from treadle.platform.wiring import Embedded
from treadle.scope.file import parse

PROJECT = '[project]\nname = "p"\n'


@pytest.fixture(autouse=True)
def outage(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command line that works on a home whose availability burns."""
    desk = watched(open_home, UP, FAST)
    minute(desk, 9, 1)
    monkeypatch.setenv("TREADLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 250)


def test_objectives_are_listed_and_in_the_status() -> None:
    for text in (said("slo"), said("status")):
        (line,) = [line for line in text.splitlines() if "availability: 0.999 over 30d" in line]
        assert "90.0000% of 10 requests" in line and "-9900.0%" in line and "1h 100" in line
        assert "page since 1997-05-19 00:01" in line
    listed = json.loads(said("slo", "--json"))
    assert {one["slo"]: (one["good"], one["total"]) for one in listed} == {
        "UP": (9, 10),
        "FAST": (9, 10),
    }
    requirements = json.loads(said("status", "--json"))[0]["requirements"]
    assert [(one["value"], one["met"]) for one in requirements] == [(0.9, False), (0.9, False)]


def test_files_for_other_tools_are_printed(tmp_path: Path) -> None:
    rules = yaml.safe_load(said("slo", "render"))
    assert [group["name"] for group in rules["groups"]] == [
        "treadle-slo p/UP",
        "treadle-slo p/FAST",
    ]
    assert json.loads(said("slo", "render", "--format", "grafana"))["uid"] == "treadle-slo"
    (tmp_path / "slos.yaml").write_text(said("slo", "render", "--format", "openslo"))
    declared = parse(PROJECT + said("slo", "import", "slos.yaml")).requirement
    assert [(one.id, one.bound) for one in declared] == [(one.id, one.bound) for one in (UP, FAST)]
