"""Reads ``treadle.toml`` and checks it, with errors that point at the line."""

import re
import tomllib
from pathlib import Path

from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.scope import cron
from treadle.scope.model import TRIGGERS, ProjectSpec, duration

FILE = "treadle.toml"


def read(path: Path) -> ProjectSpec:
    """The project described by a file, or by the ``treadle.toml`` in a folder."""
    path = path / FILE if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"There is no '{path}'. Make a project with: treadle init NAME") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 text at byte {error.start}.") from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str = FILE) -> ProjectSpec:
    """The project described by TOML text; ``name`` is what errors call it."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{name}: {_with_line(str(error))}") from error
    try:
        spec = from_plain(plain, ProjectSpec)
        _check(spec)
    except Invalid as error:
        line = line_of(text, _path_in(error.message))
        raise Invalid(f"{name}{f', line {line}' if line else ''}: {error.message}") from error
    return spec


def _check(spec: ProjectSpec) -> None:
    """What types cannot say. Errors name the field as ``requirement[0].id``, so that its line can be found."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", spec.project.name):
        raise Invalid("Field 'project.name': use lower-case letters, digits and hyphens, 63 at most.")
    seen: set[str] = set()
    for place, requirement in enumerate(spec.requirement):
        here = f"requirement[{place}]"
        if requirement.id in seen:
            raise Invalid(
                f"Field '{here}.id': '{requirement.id}' is used twice. Give each requirement an id of its own."
            )
        seen.add(requirement.id)
        if (requirement.at_least is None) == (requirement.at_most is None):
            raise Invalid(f"Field '{here}.metric': requirement '{requirement.id}' needs either at_least or at_most.")
    if spec.data and spec.labelled is None:
        raise Invalid("Field 'data': no dataset has a label. Write label = \"COLUMN\" under the one to learn from.")
    _check_durations(spec)
    for place, trigger in enumerate(spec.retrain.when):
        _check_trigger(trigger, f"retrain.when[{place}]")
    for place, step in enumerate(spec.rollout.steps):
        if step != "shadow" and not 0 < share(step, f"rollout.steps[{place}]") <= 1:
            raise Invalid(f"Field 'rollout.steps[{place}]': '{step}' is not between 0% and 100%.")


def share(step: str, field: str = "step") -> float:
    """The share of traffic a rollout step stands for: '10%' → 0.1, 'shadow' → 0."""
    if step == "shadow":
        return 0.0
    if not re.fullmatch(r"\d+(\.\d+)?%", step):
        raise Invalid(f"Field '{field}': '{step}' is neither 'shadow' nor a share such as '10%'.")
    return float(step[:-1]) / 100


def _check_durations(spec: ProjectSpec) -> None:
    fields = {
        "rollout.hold": spec.rollout.hold,
        "retrain.cooldown": spec.retrain.cooldown,
        "monitoring.window": spec.monitoring.window,
        **{f"data.{name}.label_delay": source.label_delay for name, source in spec.data.items()},
    }
    for field, text in fields.items():
        try:
            duration(text)
        except Invalid as error:
            raise Invalid(f"Field '{field}': {error.message}") from error


def _check_trigger(trigger: str, field: str) -> None:
    if trigger in TRIGGERS:
        return
    try:
        if trigger.startswith("older than "):
            duration(trigger.removeprefix("older than "))
        else:
            cron.parse(trigger)
    except Invalid as error:
        hint = did_you_mean(trigger, (*TRIGGERS, "older than 30d"))
        raise Invalid(f"Field '{field}': {error.message}{hint}") from error


def line_of(text: str, path: str) -> int | None:
    """The line on which a field such as ``requirement[1].at_least`` stands, or its table's, or None."""
    places = _places(text)
    while path:
        if path in places:
            return places[path]
        path = re.sub(r"(\.[^.\[\]]+|\[\d+\]|^[^.\[\]]+)$", "", path)
    return None


def _places(text: str) -> dict[str, int]:
    """Path of every table and key → its line number."""
    places: dict[str, int] = {}
    counts: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if array := re.match(r"\s*\[\[\s*([^\]]+?)\s*\]\]", line):
            count = counts.get(array[1], 0)
            counts[array[1]] = count + 1
            table = f"{array[1]}[{count}]"
            places[table] = number
            places.setdefault(array[1], number)
        elif header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            table = header[1]
            places[table] = number
        elif key := re.match(r"\s*([A-Za-z0-9_.-]+)\s*=", line):
            places[f"{table}.{key[1]}" if table else key[1]] = number
    return places


def _path_in(message: str) -> str:
    found = re.search(r"ield '([^']+)'", message)
    return found[1] if found else ""


def _with_line(message: str) -> str:
    found = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message)
    return f"line {found[2]}, column {found[3]}: {found[1]}." if found else f"{message}."


def nearest(folder: Path) -> Path | None:
    """The closest folder at or above ``folder`` that holds a ``treadle.toml``."""
    return next((place for place in [folder, *folder.parents] if (place / FILE).is_file()), None)
