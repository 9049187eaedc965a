"""Walks the commands of the command line."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import typer

from treadle.cli.main import app
from treadle.kernel.stage import services_of
from treadle.platform.stages import stages


@cache
def root() -> Any:
    """The command line, which takes a while to make. Show no help of it: that escapes its texts."""
    return typer.main.get_command(app)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something: its words, and itself."""
    yield from _below("", typer.main.get_command(app))


def made_by_hand() -> dict[str, Any]:
    """The commands that are no operation of a stage, by their words."""
    services = {name.replace("_", "-") for name in services_of(stages())}
    return {words: command for words, command in commands() if words.split()[0] not in services}


def _below(words: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from _below(f"{words}{name} ", command)
        else:
            yield f"{words}{name}", command
