"""Every operation is a command, and nothing heavy is loaded before it is needed."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.commands import root
from treadle.cli.main import app
from treadle.events.tables import events
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of, services_of
from treadle.platform.stages import stages
from treadle.platform.wiring import Embedded
from treadle.testing.platform import SPEC

STAGES = kinds_of(stages())

HEAVY = (
    "sqlalchemy",
    "numpy",
    "duckdb",
    "pandas",
    "onnxruntime",
    "sklearn",
    "alembic",
    "httpx",
    "uvicorn",
)


def group(stage: str) -> Any:
    return root().commands[stage.replace("_", "-")]


def names(stage: str) -> list[str]:
    return [name.replace("_", "-") for name in operations(STAGES[stage])]


def test_the_stages_of_the_command_line_are_the_stages_in_their_words() -> None:
    for name, service in services_of(stages()).items():
        assert root().commands[name.replace("_", "-")].help == service.about


@pytest.mark.parametrize("stage", STAGES)
def test_every_operation_is_a_command_with_all_its_arguments(stage: str) -> None:
    by_hand = [verb.__name__.strip("_") for verb in group(stage).opens_with]
    derived = [name for name in names(stage) if name not in by_hand]
    assert group(stage).list_commands(None) == by_hand + derived
    for name, operation in operations(STAGES[stage]).items():
        if name in by_hand:  # it is written for people, and takes what the operation takes
            continue
        command = group(stage).get_command(None, name.replace("_", "-"))
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        wanted = {f"--{field.replace('_', '-')}" for field in operation.parameters}
        assert wanted | {"--home", "--url", "--token", "--json"} <= options
        assert (command.help or "").split() == operation.doc.replace("``", "`").split()


@pytest.mark.parametrize("stage", STAGES)
def test_no_argument_of_an_operation_hides_one_of_the_command_lines_own(stage: str) -> None:
    for operation in operations(STAGES[stage]).values():
        assert not {"home", "url", "token", "json"} & set(operation.parameters)


@pytest.mark.parametrize("stage", STAGES)
def test_every_operation_says_what_it_does(stage: str) -> None:
    assert [o.name for o in operations(STAGES[stage]).values() if not o.doc] == []


@pytest.mark.parametrize(
    "program",
    [
        "import treadle",
        "from treadle.cli.main import main; sys.argv = ['treadle', '--help']; main()",
        "from treadle.cli.main import main; sys.argv = ['treadle', 'run', '--help']; main()",
    ],
)
def test_nothing_heavy_is_loaded_to_begin_or_to_help(program: str) -> None:
    code = f"import atexit, sys\natexit.register(lambda: print('|', *sys.modules))\n{program}\n"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    loaded = set(ended.stdout.rpartition("|")[2].split())
    assert "treadle" in loaded
    assert loaded & set(HEAVY) == set()


def test_help_shows_the_verbs_and_every_stage() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "treadle", "--help"], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0
    for word in ("init", "run", "status", "approve", "deploy", "why", *STAGES):
        assert f" {word.replace('_', '-')} " in ended.stdout


def test_a_check_that_finds_damage_fails(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    platform = open_home()
    platform.scope.declare(spec=SPEC)
    command = ["events", "verify", "--home", str(tmp_path / "home")]
    assert CliRunner().invoke(app, command).exit_code == 0
    with platform.database.write() as transaction:
        transaction.execute(events.update().values(actor="somebody else"))
    found = CliRunner().invoke(app, [*command, "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["broken_at"] == 1


def test_experiments_are_given_by_name_or_number_once_or_often(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    platform = open_home()
    first = platform.tracking.start_run(experiment="churn")
    second = platform.tracking.start_run(experiment="credit risk")

    def found(*given: str) -> list[str]:
        options = [text for one in given for text in ("--experiments", one)]
        command = ["tracking", "search", *options, "--home", str(tmp_path / "home"), "--json"]
        ended = CliRunner().invoke(app, command, catch_exceptions=False)
        return sorted(run["id"] for run in json.loads(ended.stdout)["runs"])

    assert found("churn") == found(str(first.experiment)) == [first.id]
    both = sorted([first.id, second.id])
    assert found("churn", "credit risk") == both
    assert found(f'["churn", {second.experiment}]') == both
    with pytest.raises(NotFound, match=r"no experiment 'chrun'. Did you mean 'churn'\?"):
        found("chrun")
    with pytest.raises(Invalid, match="Plain values need no brackets: repeat the option"):
        found("[churn]")
