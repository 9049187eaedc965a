"""A forked process of Treadle is told from one that starts from nothing by its time only."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.warm import popen
from tests.warm.command import write_command

TREADLE = [sys.executable, "-m", "treadle"]
ZYGOTE = [sys.executable, "-P", "-m", "treadle.backends.executor.zygote"]


def ended(command: list[str], folder: Path, **more: str) -> tuple[int, str, str]:
    ran = subprocess.run(
        command, cwd=folder, env=os.environ | more, capture_output=True, text=True, timeout=60
    )
    return ran.returncode, ran.stdout, ran.stderr


@pytest.mark.parametrize("arguments", ["--version", "", "nope", "runs --json", "init --help"])
@pytest.mark.parametrize("columns", ["60", "120"])
def test_it_says_and_ends_the_same(
    arguments: str, columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*TREADLE, *arguments.split()]
    warm = ended(command, tmp_path, COLUMNS=columns)
    monkeypatch.setattr(popen, "cold", True)
    assert warm == ended(command, tmp_path, COLUMNS=columns)


def test_the_command_for_scripts_says_and_ends_the_same(tmp_path: Path) -> None:
    write_command(tmp_path / "bin")
    for arguments in (["--version"], ["nope"]):
        script = [str(tmp_path / "bin" / "treadle"), *arguments]
        assert ended(script, tmp_path) == ended([*TREADLE, *arguments], tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_polled_killed_and_waited_for(number: signal.Signals) -> None:
    with subprocess.Popen(ZYGOTE, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
        process.send_signal(number)
        assert process.wait(20) == process.poll() == -number


def test_it_ends_with_its_input() -> None:
    process: subprocess.Popen[Any]
    with subprocess.Popen(ZYGOTE, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ([*TREADLE, "runs"], {"PYTHONHASHSEED": "1"}),
        ([*TREADLE, "runs"], {"PYTHONIOENCODING": "ascii"}),
        ([*TREADLE, "runs"], {"LC_ALL": "C"}),
        ([sys.executable, "-c", "pass"], {}),
        ([sys.executable, "-m", "treadle.platform.job"], {}),
        (["/another/python", "-m", "treadle"], {}),
    ],
)
def test_what_could_be_told_apart_starts_from_nothing(
    command: list[str], environment: dict[str, str]
) -> None:
    rest: dict[str, Any] = dict.fromkeys(("preexec_fn", "shell", "executable", "cwd"))
    assert not popen.is_warm(command, os.environ | environment, rest)
    assert popen.is_warm([*TREADLE, "runs"], os.environ, rest)


def test_a_customised_python_starts_from_nothing(tmp_path: Path) -> None:
    customised = os.environ | {"PYTHONPATH": str(tmp_path)}
    rest: dict[str, Any] = dict.fromkeys(("preexec_fn", "shell", "executable", "cwd"))
    assert popen.is_warm(TREADLE, customised, rest)
    (tmp_path / "sitecustomize.py").touch()
    assert not popen.is_warm(TREADLE, customised, rest)
