"""How strongly steps are confined is shown, and less than was declared is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import outside
from tests.pipelines.project import declare, write
from treadle.backends.sandbox.processes import Processes
from treadle.cli.wheel import CONFINED
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.sandbox import KNOWN_STRENGTH

MISSING = "Steps must be confined by 'namespaces' here, and this machine offers 'landlock'."


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that holds a project; the commands below are typed in its parent."""
    home = tmp_path / ".treadle"
    with Embedded(settings_for(home, target="memory:")) as platform:
        declare(platform, write(tmp_path / "p", "@treadle.step\ndef one(): return 1"))
    return home


def typed(
    home: Path, *arguments: str, offers: str, declared: str = ""
) -> "subprocess.CompletedProcess[str]":
    """A command on a machine that offers a strength, over a home that declares one."""
    environment = outside(home.parent) | {KNOWN_STRENGTH: offers}
    environment |= {"TREADLE_SANDBOX": f"{declared}:"} if declared else {}
    command = [sys.executable, "-m", "treadle", *arguments]
    return subprocess.run(
        command, cwd=home.parent, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("offers", list(CONFINED))
def test_status_shows_the_strength_that_is_in_force(home: Path, offers: str) -> None:
    told = typed(home, "status", offers=offers).stdout
    assert CONFINED[offers] in " ".join(told.split())
    (wheel,) = json.loads(typed(home, "status", "--json", offers=offers).stdout)
    assert wheel["sandbox"] == offers


def test_the_strength_that_is_shown_is_the_one_that_was_found(home: Path) -> None:
    """Where nothing says what there is, it is tried out, not assumed."""
    (wheel,) = json.loads(typed(home, "status", "--json", offers="").stdout)
    assert wheel["sandbox"] == Processes("auto:", home).strength


def test_status_says_that_no_step_runs_with_less_than_was_declared(home: Path) -> None:
    told = typed(home, "status", offers="landlock", declared="namespaces").stdout
    assert f"no step runs: {MISSING}" in " ".join(told.split())
    ended = typed(home, "status", "--json", offers="landlock", declared="namespaces")
    (wheel,) = json.loads(ended.stdout)
    assert wheel["sandbox"] is None
    assert any(MISSING in wait for wait in wheel["waiting"])


def test_up_does_not_start_with_less_than_it_was_told_to_have(home: Path) -> None:
    before = (home / "settings.json").read_bytes()
    ended = typed(home, "up", "--sandbox", "namespaces", offers="landlock")
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"treadle: {MISSING}")
    assert len(ended.stderr.splitlines()) == 1
    assert (home / "settings.json").read_bytes() == before, "it is not remembered"
    assert not os.path.lexists(home / "run" / "supervisor.lock")
