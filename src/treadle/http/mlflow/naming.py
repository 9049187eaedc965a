"""What the fields of MLflow's requests name, so that rights can be checked."""

from collections.abc import Iterator, Mapping
from typing import Any

from treadle.kernel.operation import Named
from treadle.ports.naming import NOWHERE

_KINDS = {
    **dict.fromkeys(("run_id", "run_uuid", "run_ids", "source_run_id"), "run"),
    **dict.fromkeys(("experiment_id", "experiment_ids"), "experiment"),
    **dict.fromkeys(("experiment_name", "experiments.name"), "experiment's name"),
    "version": "version",
    **dict.fromkeys(("registered-models.name", "model-versions.name"), "model's name"),
    "model_id": "logged model",
    **dict.fromkeys(("experiments.artifact_location", "model-versions.source"), "location"),
    **dict.fromkeys(("trace_id", "trace_ids", "request_id", "request_ids"), "trace"),
}
"""The kind of thing by field; where a field means something else in one resource, by
RESOURCE.FIELD.
"""

_NUMBERS = ("model-versions.version", "registered-models.version")


def named(given: Mapping[str, Any], resource: str = "") -> Iterator[Named]:
    """What a request names.

    Args:
        given: The request's fields.
        resource: The first part of its path, such as ``model-versions``.
    """
    for field, value in given.items():
        if value in (None, "", []) or f"{resource}.{field}" in _NUMBERS:
            continue
        if field == "trace" and isinstance(value, dict):
            yield from _trace(value.get("trace_info"))
        if field == "locations":
            yield from (Named("experiment", _experiment_at(location)) for location in value)
        if field == "models" and resource == "runs":
            yield from (Named("logged model", one.model_id) for one in value)
        kind = _KINDS.get(f"{resource}.{field}", _KINDS.get(field))
        if kind is not None:
            parts = value if isinstance(value, list | tuple) else [value]
            number = kind == "experiment"
            yield from (Named(kind, part if number else str(part)) for part in parts)


def _trace(info: Any) -> Iterator[Named]:
    """A trace that begins, and its experiment."""
    if isinstance(info, dict):
        yield Named("experiment", _experiment_at(info.get("trace_location", {})))
        id = info.get("trace_id") or info.get("request_id")
        if id:
            yield Named("trace that may have begun", str(id))


def _experiment_at(location: Any) -> Any:
    """The experiment in which traces are, as newer clients say it."""
    inside = location.get("mlflow_experiment", {}) if isinstance(location, dict) else {}
    return inside.get("experiment_id", NOWHERE)
