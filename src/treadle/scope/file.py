"""Reads ``treadle.toml`` and checks it, with errors that name the line."""

import math
import re
import tomllib
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from treadle.kernel.clock import duration
from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.scope import cron
from treadle.scope.alerting import check_incidents, check_route
from treadle.scope.data_checks import refuse_unsound
from treadle.scope.feature_views import FeatureSource, check_features
from treadle.scope.freeze import Freeze
from treadle.scope.lines import line_of, path_in
from treadle.scope.model import (
    FROM_PRODUCTION,
    METRICS_OF,
    DataSource,
    ProjectSpec,
    Task,
)
from treadle.scope.requirements import check_requirement
from treadle.scope.retraining import TRIGGERS
from treadle.scope.shares import percentage
from treadle.scope.step_schedules import check_schedules
from treadle.scope.tune import check_tune
from treadle.stats.families import family

FILE = "treadle.toml"
_DURATIONS = (
    "cooldown",
    "cpu_time",
    "every",
    "hold",
    "label_delay",
    "step_timeout",
    "wait_for_labels",
    "window",
)


def read(path: Path) -> ProjectSpec:
    """Read a project file.

    Args:
        path: The file, or the folder that holds a ``treadle.toml``.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is malformed; the error names the line.
    """
    path = path / FILE if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"There is no '{path}'. Make a project with: treadle init NAME") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{path}: not UTF-8 text at byte {error.start}.") from error
    return parse(text, name=str(path))


def parse(text: str, *, name: str = FILE) -> ProjectSpec:
    """Parse the text of a project file.

    Args:
        text: TOML text.
        name: Name of the file in error messages.

    Raises:
        Invalid: The text is malformed; the error names the line.
    """
    try:
        plain = tomllib.loads(text)
    except ValueError as error:  # also an integer of thousands of digits
        raise Invalid(f"{name}: {_with_line(str(error))}") from error
    except RecursionError as error:
        raise Invalid(f"{name}: it is nested too deeply.") from error
    try:
        spec = from_plain(plain, ProjectSpec)
        check(spec)
    except Invalid as error:
        message = _table_named(error.message, plain)
        line = line_of(text, path_in(message))
        raise Invalid(
            f"{name}{f', line {line}' if line else ''}: {message}{_hint(message)}"
        ) from error
    return spec


def _hint(message: str) -> str:
    """What to write where a duration is a bare number."""
    is_number = "Expected `str`, got `int`" in message or "Expected `str`, got `float`" in message
    is_duration = path_in(message).rpartition(".")[2] in _DURATIONS
    told = ' Write a duration as text with its unit, such as "5s", "10m" or "2h".'
    return told if is_number and is_duration else ""


def _table_named(message: str, plain: dict[str, Any]) -> str:
    """Put the name of a dataset or view into a message that says only ``data[...]``."""
    kinds: dict[str, type[Any]] = {"data": DataSource, "features": FeatureSource}
    for field, kind in kinds.items():
        tables = plain.get(field)
        if f"{field}[...]" not in message or not isinstance(tables, dict):
            continue
        for name, table in tables.items():
            try:
                from_plain(table, kind)
            except Invalid:
                return message.replace(f"{field}[...]", f"{field}.{name}", 1)
    return message


def check(spec: ProjectSpec) -> None:
    """Check what the types of a specification cannot express.

    Args:
        spec: The specification.

    Raises:
        Invalid: A value is not allowed. The error names its field, such as ``requirement[0].id``.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", spec.project.name):
        raise Invalid(
            "Field 'project.name': use lower-case letters, digits and hyphens, 63 at most."
        )
    seen: set[str] = set()
    for index, requirement in enumerate(spec.requirement):
        field = f"requirement[{index}]"
        if requirement.id in seen:
            raise Invalid(
                f"Field '{field}.id': '{requirement.id}' is used twice. "
                "Give each requirement an id of its own."
            )
        seen.add(requirement.id)
        check_requirement(requirement, field)
    if spec.learnt and spec.learnt.task:
        check_metrics(spec, spec.learnt.task)
    if spec.data and spec.learnt is None and spec.requirement:
        raise Invalid(
            "Field 'data': no dataset has a label. "
            'Write label = "COLUMN" under the one to learn from.'
        )
    if sum(source.is_learnt_from for source in spec.data.values()) > 1:
        raise Invalid(
            "Field 'data': two datasets have a label or a task. "
            "One is learnt from; leave both out of the others."
        )
    for name, source in spec.data.items():
        _check_inside(source.source, f"data.{name}.source")
        if source.task not in ("", "anomaly") and not source.label:
            raise Invalid(
                f"Field 'data.{name}.task': a task is predicted from a label, and this dataset "
                "has none."
            )
        _check_growth(name, source)
        for index, declared in enumerate(source.checks):
            refuse_unsound(declared, f"data.{name}.checks[{index}]")
    check_features(spec.features, spec.data, _check_inside)
    _check_inside(spec.pipeline.file, "pipeline.file")
    _check_durations(spec)
    _check_numbers(spec)
    check_steps(spec.rollout.way, "rollout.steps")
    percentage(spec.serving.log, "serving.log")
    if spec.rollout.error_margin:
        percentage(spec.rollout.error_margin, "rollout.error_margin")
    if spec.rollout.four_eyes and not spec.rollout.approve:
        raise Invalid(
            "Field 'rollout.four_eyes': nothing is to be approved. "
            'Declare: approve = ["production"]'
        )
    for index, text in enumerate(spec.rollout.freeze):
        Freeze.read(text, f"rollout.freeze[{index}]")
    if spec.tune:
        check_tune(spec.tune)
    for index, trigger in enumerate(spec.retrain.when):
        _check_trigger(trigger, f"retrain.when[{index}]")
    check_incidents(spec.incidents)
    check_schedules(spec.schedule)
    for index, route in enumerate(spec.notify):
        check_route(route, f"notify[{index}]")


def check_metrics(spec: ProjectSpec, task: Task) -> None:
    """Check that the task has the metrics that requirements name.

    Args:
        spec: The specification.
        task: What is predicted.

    Raises:
        Invalid: A metric belongs to other tasks. The error names those that this task has.
    """
    for index, requirement in enumerate(spec.requirement):
        if family(requirement.metric) in (*METRICS_OF[task], *FROM_PRODUCTION):
            continue
        others = [name for name in METRICS_OF if family(requirement.metric) in METRICS_OF[name]]
        raise Invalid(
            f"Field 'requirement[{index}].metric': '{requirement.metric}' is no metric of a "
            f"{task} task, but of {' and '.join(others)}. Use {', '.join(METRICS_OF[task][:-1])} "
            f"or {METRICS_OF[task][-1]}."
        )


def _check_growth(name: str, source: DataSource) -> None:
    """Refuse a dataset whose rows cannot be kept or added as it declares."""
    field = f"data.{name}"
    percentage(source.share, f"{field}.share")
    try:
        kept = source.kept
    except Invalid as error:
        raise Invalid(f"Field '{field}.keep': {error.message}") from error
    if kept.span and not source.time:
        raise Invalid(
            f"Field '{field}.keep': '{source.keep}' is an age, and no column says how old a row is."
            ' Name it: time = "COLUMN"'
        )
    if source.learns_from_answers and not source.label:
        raise Invalid(f"Field '{field}.learn_from': answers have a label, and this dataset none.")


def _check_inside(path: str, field: str) -> None:
    """Refuse a path that leaves the project's folder or has hidden parts."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or any(part.startswith(".") for part in parts):
        raise Invalid(
            f"Field '{field}': '{path}' must be a path inside the project's folder, "
            "without hidden parts."
        )


def _check_numbers(spec: ProjectSpec) -> None:
    least_replicas = 0 if spec.serving.scales else 1
    least_max_replicas = spec.serving.replicas if spec.serving.scales else 0
    lower_bounds = {
        "rollout.min_requests": (spec.rollout.min_requests, 0),
        "serving.replicas": (spec.serving.replicas, least_replicas),
        "serving.max_replicas": (spec.serving.max_replicas, least_max_replicas),
        "retrain.budget_per_month": (spec.retrain.budget_per_month, 0),
        "retrain.min_new_labels": (spec.retrain.min_new_labels, 1),
        "retrain.max_depth": (spec.retrain.max_depth, 0),
        "monitoring.min_labels": (spec.monitoring.min_labels, 2),
    }
    for field, (value, lower_bound) in lower_bounds.items():
        if value < lower_bound:
            raise Invalid(f"Field '{field}': {value} is less than {lower_bound}.")
    if not spec.serving.concurrency > 0 or not math.isfinite(spec.serving.concurrency):
        raise Invalid(
            f"Field 'serving.concurrency': {spec.serving.concurrency:g} is no positive number."
        )
    for name, parameter in spec.pipeline.parameters.items():
        for one in parameter if isinstance(parameter, list) else [parameter]:
            if isinstance(one, float) and not math.isfinite(one):
                raise Invalid(f"Field 'pipeline.parameters.{name}': {one} is no finite number.")


def check_steps(steps: list[str], field: str) -> None:
    """Check that the steps of a rollout grow and end with ``100%``; a shadow can only come first.

    Args:
        steps: Steps such as ``shadow``, ``10%``, ``ab`` and ``100%``.
        field: Name of the field in error messages.

    Raises:
        Invalid: A step is malformed or does not follow the one before it.
    """
    shares = [share(step, f"{field}[{index}]") for index, step in enumerate(steps)]
    if not shares or shares[-1] != 1:
        raise Invalid(f"Field '{field}': the last step must be '100%'.")
    for index, (before, after) in enumerate(pairwise(shares), start=1):
        if after <= before:
            raise Invalid(
                f"Field '{field}[{index}]': '{steps[index]}' is not more than "
                f"'{steps[index - 1]}' before it."
            )


def share(step: str, field: str = "step") -> float:
    """The share of traffic, 0 to 1, that a step of a rollout gives the new version at its start.

    Args:
        step: ``shadow`` (0), a share such as ``10%`` (0.1), ``ab`` or ``bandit`` (0.5), or ``ab
            30%`` (0.3).
        field: Name of the field in error messages.

    Raises:
        Invalid: The step is malformed.
    """
    if step == "shadow":
        return 0.0
    if step in ("ab", "bandit"):
        return 0.5
    return percentage(
        step.removeprefix("ab "), field, what="neither 'shadow' nor 'ab' nor 'bandit' nor"
    )


def experiment(step: str) -> Literal["ab", "bandit"] | None:
    """The kind of experiment that a step of a rollout runs, or None.

    Args:
        step: A step such as ``shadow``, ``10%``, ``ab 30%`` or ``bandit``.
    """
    kind = step.partition(" ")[0]
    return "ab" if kind == "ab" else "bandit" if kind == "bandit" else None


def _check_durations(spec: ProjectSpec) -> None:
    fields = {
        "rollout.hold": spec.rollout.hold,
        "rollout.experiment": spec.rollout.experiment,
        "rollout.wait_for_labels": spec.rollout.wait_for_labels,
        "retrain.cooldown": spec.retrain.cooldown,
        "monitoring.window": spec.monitoring.window,
        "pipeline.step_timeout": spec.pipeline.step_timeout,
        "pipeline.cpu_time": spec.pipeline.cpu_time,
        **{f"data.{name}.label_delay": source.label_delay for name, source in spec.data.items()},
    }
    for field in ("rollout.wait_for_labels", "pipeline.cpu_time"):
        if not fields[field]:  # an empty text: labels are not waited for, and no time is too much
            del fields[field]
    for field, text in fields.items():
        try:
            length = duration(text)
        except Invalid as error:
            raise Invalid(f"Field '{field}': {error.message}") from error
        if not length and field in (
            "monitoring.window",
            "pipeline.step_timeout",
            "pipeline.cpu_time",
        ):
            raise Invalid(f"Field '{field}': it must last longer than nothing.")


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


def _with_line(message: str) -> str:
    match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message)
    return f"line {match[2]}, column {match[3]}: {match[1]}." if match else f"{message}."


def nearest(folder: Path) -> Path | None:
    """The closest folder at or above a folder that holds a ``treadle.toml``, or None.

    Args:
        folder: Folder in which to start.
    """
    folders = [folder, *folder.parents]
    return next((candidate for candidate in folders if (candidate / FILE).is_file()), None)
