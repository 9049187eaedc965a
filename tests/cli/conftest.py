"""The command line, as a person has it: a process of its own in a folder of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def treadle(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """``python -m treadle`` in a folder, with the folder as HOME and no settings from outside."""
    command = [sys.executable, "-m", "treadle", *arguments]
    return subprocess.run(
        command, cwd=folder, env=outside(folder), capture_output=True, text=True, timeout=120
    )


def outside(folder: Path) -> dict[str, str]:
    """The environment of a command that is typed in a folder."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("TREADLE_")
    }
    return environment | {"HOME": str(folder), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}


def complaint(folder: Path, *arguments: str) -> str:
    """The one sentence that a command complains with; checks that it is one, and nothing else."""
    ended = treadle(folder, *arguments)
    assert "Traceback" not in ended.stderr, ended.stderr[-500:]
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    if "--json" in arguments:
        return str(json.loads(line)["message"])
    assert line.startswith("treadle: ")
    return line.removeprefix("treadle: ")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of ``treadle init shop`` after two runs; change it only by signing shop:1."""
    folder = tmp_path_factory.mktemp("cli")
    assert treadle(folder, "init", "shop").returncode == 0
    for run in ("first", "second"):
        ended = treadle(folder / "shop", "run", "--name", run, "-p", "seed=3")
        assert ended.returncode == 0, ended.stderr
        (folder / f"{run}-run.txt").write_text(ended.stdout, encoding="utf-8")
    return folder / "shop"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh project that has never run."""
    assert treadle(tmp_path, "init", "shop").returncode == 0
    return tmp_path / "shop"
