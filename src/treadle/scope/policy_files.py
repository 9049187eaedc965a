"""Reads policies: changes to a project's declaration, each in a file of its own."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.scope.file import FILE, check
from treadle.scope.model import ProjectSpec

OWN, NEVER = "as declared", "never"
"""Names of two policies that every comparison has: the project's own, and training once."""
USUAL: Mapping[str, Mapping[str, Any]] = {
    "twice a month": {"when": ["0 0 1,15 * *"], "cooldown": "1d", "budget_per_month": 8},
    "monthly": {"when": ["0 0 1 * *"], "cooldown": "1d", "budget_per_month": 8},
    "every second month": {"when": ["0 0 1 */2 *"], "cooldown": "1d", "budget_per_month": 8},
    "quarterly": {"when": ["0 0 1 */3 *"], "cooldown": "1d", "budget_per_month": 8},
    "on drift": {"when": ["drift"], "cooldown": "7d", "budget_per_month": 8},
    "on a missed requirement": {
        "when": ["missed requirement"],
        "cooldown": "7d",
        "budget_per_month": 8,
    },
}
"""Policies that are compared where none is named, by what ``[retrain]`` says in them."""


def read_policies(project: Path, files: Sequence[Path]) -> dict[str, ProjectSpec]:
    """Read a project's own policy and others that it is compared with.

    A policy file has tables of ``treadle.toml``, such as ``[retrain]`` and ``[monitoring]``. Its
    keys take the place of the project's; what it does not name stays. A ``[[requirement]]`` in it
    takes the place of all of the project's.

    Args:
        project: The project's folder.
        files: Policy files; the usual policies where there are none.

    Returns:
        Policies by name: the project's own, ``never``, and those of the files by the files' names.

    Raises:
        NotFound: There is no such file.
        Invalid: A file is malformed, or does not fit the project.
        Conflict: Two files have one name.
    """
    own = _read(project / FILE)
    changes = {path: _read(path) for path in files} or {
        Path(name): {"retrain": dict(retrain)} for name, retrain in USUAL.items()
    }
    policies = {OWN: _spec(own, {}, project / FILE)}
    policies[NEVER] = _spec(own, {"retrain": {"when": []}}, project / FILE)
    for path, change in changes.items():
        if path.stem in policies:
            raise Conflict(f"Two policies are called '{path.stem}'. Rename '{path}'.")
        policies[path.stem] = _spec(own, change, path)
    return policies


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no '{path}'.") from error
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{path}: {error}") from error


def _spec(own: Mapping[str, Any], change: Mapping[str, Any], path: Path) -> ProjectSpec:
    try:
        spec = from_plain(_merged(own, change), ProjectSpec)
        check(spec)
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error
    return spec


def _merged(own: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A table with another's keys in the place of its own, table by table."""
    merged = dict(own)
    for name, value in change.items():
        mine = merged.get(name)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return merged
