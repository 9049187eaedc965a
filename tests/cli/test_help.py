"""Help shows what its source says, and the shell completes commands and options."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from tests.cli.commands import commands, root
from treadle.http import bodies
from treadle.http.searching import AT_ONCE
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.platform.watchdog import QUERY_SECONDS
from treadle.serving.request_reader import MAX_HELD_BYTES
from treadle.tracking.language import MOST_CONDITIONS, MOST_ORDERS

ROOT = Path(__file__).parents[2]


def shown(command: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A command's help as a person reads it, without line breaks and frames."""
    screen = io.StringIO()
    wide = Console(file=screen, width=500, force_terminal=False)
    monkeypatch.setattr("typer.rich_utils._get_rich_console", lambda **_: wide)
    command.get_help(typer.Context(command, info_name=name))
    return re.sub(r"[\s│]+", " ", screen.getvalue())


def bracketed(text: str) -> list[str]:
    return re.findall(r"\S*\[\S+", " ".join(text.split()))


def written(words: str) -> str:
    """The help texts of a command and its parameters, as its source says them."""
    command: Any = root()
    for word in words.split():
        command = command.commands[word] if command.commands else command.get_command(None, word)
    texts = [command.help, *(getattr(parameter, "help", "") for parameter in command.params)]
    return " ".join(text or "" for text in texts)


def test_help_shows_every_bracket_that_its_source_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "[[caller]]" in bracketed(written("serve"))
    for words, command in commands():
        if there := bracketed(written(words)):
            help = shown(command, words, monkeypatch)
            for word in there:
                assert word in help, f"treadle {words} --help"


def completed(line: str, folder: Path) -> str:
    """What bash is offered at the end of a line."""
    words = line.split(" ")
    asked = {
        "_TREADLE_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = "import sys; sys.argv = ['treadle']; from treadle.cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | asked | {"HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.stdout


@pytest.mark.parametrize(
    "line, offered",
    [
        ("treadle stat", ["status"]),
        ("treadle status --", ["--home", "--url", "--token", "--json", "--project"]),
        ("treadle rollout pa", ["pause"]),
        ("treadle rollout pause --re", ["--reason"]),
        ("treadle jobs fi", ["find"]),
        ("treadle serve --ca", ["--callers"]),
    ],
)
def test_the_shell_completes_verbs_groups_and_options(
    line: str, offered: list[str], tmp_path: Path
) -> None:
    assert set(offered) <= set(completed(line, tmp_path).split())


def test_derived_verbs_explain_each_option_and_show_no_type_of_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stage, kind in kinds_of(stages()).items():
        group = root().commands[stage.replace("_", "-")]
        for name, operation in operations(kind).items():
            verb = name.replace("_", "-")
            if verb in {made.__name__.strip("_") for made in group.opens_with}:
                continue  # written by hand
            help = shown(group.get_command(None, verb), f"{stage} {verb}", monkeypatch)
            assert operation.summary.replace("``", "`") in help
            for parameter in operation.parameters.values():
                assert parameter.description, f"{stage}.{name}({parameter.name})"
                described = " ".join(parameter.description.split()).replace("``", "`")
                assert described in help
            assert not re.search(r"(str|int|list\[str\]|datetime) \| None|typing\.|``", help), help


def test_security_says_the_limits_that_the_code_has() -> None:
    said = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
    kib = bodies.SLOWEST_BYTES // 1024
    assert f"{bodies.PATIENCE_SECONDS:.0f} s and one more for each {kib} KiB" in said
    assert f"all bodies in hand have {bodies.MAX_HELD_BYTES // 2**30} GiB together" in said
    assert f"and {MAX_HELD_BYTES // 2**20} MiB at a model server" in said
    assert (
        f"A filter has {MOST_CONDITIONS} conditions at most, an order {MOST_ORDERS} fields" in said
    )
    assert f"Queries of callers end after {QUERY_SECONDS:.0f} s" in said
    assert ("searches run one at a time" in said) == (AT_ONCE == 1)
