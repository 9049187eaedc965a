"""Every route that MLflow's servers have: its fields, those it demands, and why some are refused.

``protocol.json`` is read from MLflow's own descriptors, see ``tests/http/mlflow_clients``.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from treadle.kernel.errors import Invalid

SEE = " See the API docs for more information about request parameters."
"""What MLflow's own messages on fields end with."""
REFUSED = {
    "/api/2.0/mlflow/artifacts/presigned-upload-url": "files go through the server",
    "/api/2.0/mlflow/artifacts/presigned-download-url": "files go through the server",
    "/api/2.0/mlflow/unified-traces": "MLflow's own server has no handler for it either",
    "/api/2.0/mlflow/get-online-trace-details": "MLflow's own server has no handler for it either",
    "/api/2.0/mlflow/users": "users and their roles are Treadle's: see treadle access",
    "/api/3.0/mlflow/users": "users and their roles are Treadle's: see treadle access",
    "/api/3.0/mlflow/roles": "users and their roles are Treadle's: see treadle access",
    "/api/2.0/mlflow/experiments/permissions": "roles are given by project: see treadle access",
    "/api/2.0/mlflow/registered-models/permissions": "roles are given by project",
    "/api/2.0/mlflow/scorers/permissions": "roles are given by project",
    "/api/3.0/mlflow/workspaces": "projects separate teams; there are no workspaces",
    "/api/3.0/mlflow/issues": "there is no list of issues found in traces",
    "/api/3.0/mlflow/label-schemas": "people label in Treadle's own label sets",
    "/api/3.0/mlflow/review-queues": "people label in Treadle's own label sets",
    "/api/3.0/mlflow/datasets": "evaluation datasets are versions of data in Treadle",
    "/api/3.0/mlflow/scorers": "requirements in treadle.toml are what models are held against",
    "/api/3.0/mlflow/scorer": "the server calls no language model",
    "/api/3.0/mlflow/traces/calculate-filter-correlation": "charts of traces are not computed",
    "/api/3.0/mlflow/traces/metrics": "charts of traces are not computed",
    "/api/3.0/mlflow/gateway": "there is no gateway to language models",
    "/api/2.0/mlflow/gateway-proxy": "there is no gateway to language models",
    "/gateway": "there is no gateway to language models",
    "/api/3.0/mlflow/prompt-optimization": "the server calls no language model",
    "/api/2.0/mlflow/runs/create-promptlab-run": "the server calls no language model",
    "/api/3.0/mlflow/genai": "the server calls no language model",
    "/api/3.0/mlflow/assistant": "the server calls no language model",
    "/api/3.0/mlflow/demo": "treadle demo shows a year of real work instead",
    "/api/3.0/mlflow/mcp-servers": "there is no registry of MCP servers",
    "/api/3.0/mlflow/jobs": "jobs are Treadle's own, not MLflow's",
    "/api/3.0/jobs": "jobs are Treadle's own, not MLflow's",
    "/api/3.0/mlflow/ui-telemetry": "nothing is reported to MLflow's makers",
    "/api/2.0/mlflow/traces/{trace_id}": "MLflow's own server has no handler for it either",
    "/api/2.0mlflow": "MLflow's own server has no handler for it either",
    "/graphql": "GraphQL is asked by POST",
    "/": "Treadle has pages of its own; MLflow's are at /mlflow/",
    "/build": "Treadle has pages of its own; MLflow's are at /mlflow/",
    "/static-files": "Treadle has pages of its own; MLflow's are at /mlflow/",
}
"""Why routes are refused, by the beginning of their paths, or the whole one if it has braces."""


class Facts(msgspec.Struct, frozen=True):
    """What MLflow's releases say of one route.

    Attributes:
        client: The oldest release read that has the route.
        fields: Type by field: a protobuf type, names of an enumeration, or a message, with ``[]``.
        required: Fields that must be there, in the order in which they are checked.
    """

    client: str = ""
    fields: dict[str, str] = {}
    required: list[str] = []


class Table(msgspec.Struct, frozen=True):
    """The routes of the releases that were read.

    Attributes:
        versions: The releases.
        routes: Facts by method and path, such as ``GET /api/2.0/mlflow/runs/get``.
        messages: Fields by the name of a message.
    """

    versions: list[str]
    routes: dict[str, Facts]
    messages: dict[str, dict[str, str]]


@cache
def table() -> Table:
    """Return the routes of MLflow's releases."""
    text = (resources.files(__package__) / "protocol.json").read_bytes()
    return msgspec.json.decode(text, type=Table)


@cache
def facts_of(method: str, path: str) -> Facts:
    """Return what is known of a route; nothing is demanded of one that MLflow does not have.

    Args:
        method: The HTTP method.
        path: The route's path, with parameters in braces.
    """
    plain = path.replace("/ajax-api/", "/api/")
    other = re.sub(r"/api/[23]\.0/", "/api/{}.0/".format(3 if "/api/2.0/" in plain else 2), plain)
    known = _by_shape()
    return known.get(shape(method, plain)) or known.get(shape(method, other)) or Facts()


@cache
def _by_shape() -> dict[str, Facts]:
    return {
        shape(*route.split(" ", 1)): facts
        for route, facts in table().routes.items()
        if " /ajax-api/" not in route
    }


def shape(method: str, path: str) -> str:
    """Return a route without the names of its parameters, which differ between releases.

    Args:
        method: The HTTP method.
        path: The route's path.
    """
    return f"{method} {re.sub(r'{[^}]*}', '{}', path)}"


def reason(path: str) -> str | None:
    """Return why a route is refused, or None if it is not.

    Args:
        path: The path, under ``/api`` or ``/ajax-api``.
    """
    plain = path.replace("/ajax-api/", "/api/")
    for beginning, why in REFUSED.items():
        whole = beginning == "/" or "{" in beginning
        pattern = re.sub(r"{\w+}", "[^/]+", beginning) + ("" if whole else "(/.*)?")
        if re.fullmatch(pattern, plain):
            return why
    return None


def is_route(method: str, path: str) -> bool:
    """Whether MLflow's servers have a route, whatever stands for its parameters.

    Args:
        method: The HTTP method.
        path: The path, under ``/api`` or ``/ajax-api``.
    """
    return any(route.fullmatch(path) for route in _patterns().get(method, []))


@cache
def _patterns() -> dict[str, list[re.Pattern[str]]]:
    found: dict[str, list[re.Pattern[str]]] = {}
    for route in table().routes:
        method, path = route.split(" ", 1)
        pattern = re.sub(r"\\{path\\}", ".+", re.escape(path))
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", pattern)
        pattern = re.sub("^/api/", "/(?:ajax-)?api/", pattern)
        found.setdefault(method, []).append(re.compile(pattern))
    return found


def demand_fields(facts: Facts, given: Mapping[str, Any]) -> None:
    """Refuse a request whose fields have wrong types or are missing, in MLflow's words.

    Args:
        facts: What is known of the route.
        given: The request's fields.

    Raises:
        Invalid: A field has a wrong type, or is missing.
    """
    wrong = dict(_wrong(facts.fields, given))
    for name in dict.fromkeys([*facts.required, *wrong]):
        if name in facts.required and (missing := next(_missing(name, given), None)):
            raise missing_field(missing)
        if name in wrong:
            raise wrong_field(name, wrong[name])


def missing_field(name: str) -> Invalid:
    """Return the error that a field is missing.

    Args:
        name: The field.
    """
    return Invalid(f"Missing value for required parameter '{name}'.{SEE}")


def wrong_field(name: str, value: Any) -> Invalid:
    """Return the error that a field has a value of a wrong type.

    Args:
        name: The field.
        value: Its value.
    """
    shown = json.dumps(value, sort_keys=True, separators=(",", ":"))[:1000]
    hint = f"Hint: Value was of type '{type(value).__name__}'."
    return Invalid(f"Invalid value {shown} for parameter '{name}' supplied:  {hint}{SEE}")


def _missing(name: str, given: Mapping[str, Any]) -> Iterator[str]:
    """The places where a required field is missing; ``metrics[].key`` is one of each metric."""
    first, inner, rest = name.partition("[].")
    if not inner:
        if given.get(first) in (None, ""):
            yield first
        return
    parts = given.get(first)
    for index, part in enumerate(parts if isinstance(parts, list) else []):
        if isinstance(part, dict) and part.get(rest) in (None, ""):
            yield f"{first}[{index}].{rest}"


def _wrong(fields: Mapping[str, str], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, kind in fields.items():
        value = given.get(name)
        if value is not None and not _fits(kind, value):
            yield name, value


def _fits(kind: str, value: Any) -> bool:
    if kind.endswith("[]"):
        return isinstance(value, list) and all(_fits(kind[:-2], one) for one in value)
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    if "|" in kind:
        return value == "" or value in kind.split("|") or _whole(value)
    if kind in table().messages:
        inner = table().messages[kind]
        return isinstance(value, dict) and not any(_wrong(inner, value))
    return True


def _whole(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return False
    return -(2**63) <= number < 2**63 and (not isinstance(value, float) or number == value)


def _real(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return isinstance(value, str) or math.isfinite(float(value)) or isinstance(value, float)
    except OverflowError:
        return False


_SIMPLE = {
    "string": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool) or str(value).lower() in ("true", "false"),
    "int32": _whole,
    "int64": _whole,
    "double": _real,
    "float": _real,
}
