"""Writes values into ``[pipeline.parameters]`` of a project file, and leaves the rest as it is."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from treadle.kernel.errors import Conflict
from treadle.kernel.escaping import toml
from treadle.kernel.files import write_whole

_TABLE = "[pipeline.parameters]"


def with_parameters(file: Path, values: Mapping[str, Any]) -> None:
    """Set pipeline parameters in a project file.

    Args:
        file: The file; comments and everything else in it stay.
        values: Values by parameter.

    Raises:
        Conflict: The file writes its parameters in a way that cannot be changed line by line; the
            error shows the lines to write.
    """
    text = file.read_text(encoding="utf-8")
    lines = {name: f"{_key(name)} = {_toml(value)}" for name, value in values.items()}
    changed = _changed(text, lines)
    wanted = tomllib.loads(text)
    pipeline = wanted.setdefault("pipeline", {})
    pipeline["parameters"] = {**pipeline.get("parameters", {}), **values}
    try:
        fits = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        fits = False
    if not fits:
        raise Conflict(
            f"'{file}' writes its parameters in a way that cannot be changed here. Write under "
            f"{_TABLE}: {'; '.join(lines.values())}"
        )
    write_whole(file, changed.encode(), mode=file.stat().st_mode & 0o777)


def _changed(text: str, lines: Mapping[str, str]) -> str:
    rows = text.splitlines()
    heads = [at for at, row in enumerate(rows) if row.split("#")[0].strip() == _TABLE]
    if not heads:
        return "\n".join([*rows, "", _TABLE, *lines.values()]) + "\n"
    first = heads[0] + 1
    after = (at for at in range(first, len(rows)) if rows[at].lstrip().startswith("["))
    last = next(after, len(rows))
    table, left = rows[first:last], dict(lines)
    for at, row in enumerate(table):
        name = row.partition("=")[0].strip().strip("\"'")
        if name in left:
            comment = re.search(r"\s+#[^\"']*$", row)
            table[at] = left.pop(name) + (comment[0] if comment else "")
    while table and not table[-1].strip():
        table.pop()
    gap = [""] if last < len(rows) else []
    return "\n".join([*rows[:first], *table, *left.values(), *gap, *rows[last:]]) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def _toml(value: Any) -> str:
    """A value as TOML has it; text as JSON has it, whose escapes TOML knows."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return toml(value) if isinstance(value, str) else repr(value)
