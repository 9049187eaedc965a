"""Requests about one's own things, and the places in them where things are named."""

import re
import types
import typing
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, urlencode

import msgspec

from tests.http.planted import Things
from treadle.http.mlflow.naming import _KINDS, _NUMBERS
from treadle.http.mlflow.protocol import facts_of
from treadle.http.mlflow.wire import PREFIXES, Call, paths
from treadle.kernel.clock import EPOCH
from treadle.kernel.entity import to_json
from treadle.kernel.operation import Names, Operation, operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages

MLFLOW = PREFIXES[0]


class Request(NamedTuple):
    """A request with a hole for one of its values."""

    method: str
    path: str
    arguments: dict[str, Any]
    place: tuple[Any, ...] = ()

    def with_value(self, value: Any) -> tuple[str, str, bytes]:
        """The request with a value at its place."""
        arguments = put(self.arguments, self.place, value) if self.place else self.arguments
        path = self.path
        for name in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{name}}}", quote(str(arguments[name]), safe=""))
        if self.method == "GET":
            flat = [
                (name, one)
                for name, given in arguments.items()
                for one in (given if isinstance(given, list) and "/mlflow/" in path else [given])
                if f"{{{name}}}" not in self.path
            ]
            plain = {
                name: one if isinstance(one, str) else to_json(one).decode()
                for name, one in flat
                if one is not None
            }
            return self.method, f"{path}?{urlencode(plain)}", b""
        return self.method, path, to_json(arguments)


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of plain JSON with another value at a place."""
    if not place:
        return new
    if isinstance(value, dict) and isinstance(place[0], str):
        return {**value, place[0]: put(value.get(place[0]), place[1:], new)}
    if isinstance(place[0], str):
        return {place[0]: put(None, place[1:], new)}
    rest = list(value) if isinstance(value, list) and value else [None]
    rest[place[0]] = put(rest[place[0]], place[1:], new)
    return rest


class Slot(NamedTuple):
    """Where in an operation's arguments a thing is named, and what kind it is of."""

    place: tuple[Any, ...]
    kind: str


def slots(kind: Any, place: tuple[Any, ...] = ()) -> Iterator[Slot]:
    """The places within a type at which things are named; in lists and mappings the first."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        inner, *extras = typing.get_args(kind)
        found = [extra for extra in extras if isinstance(extra, Names)]
        yield from (Slot(place, one.kind) for one in found)
        if not found:
            yield from slots(inner, place)
    elif origin in (list, tuple):
        yield from slots(typing.get_args(kind)[0], (*place, 0))
    elif origin is dict:
        yield from slots(typing.get_args(kind)[1], (*place, "key"))
    elif origin in (typing.Union, types.UnionType):
        for option in typing.get_args(kind):
            yield from slots(option, place)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            yield from slots(hint, (*place, name))


def sample(kind: Any, own: Things, name: str = "") -> Any:
    """A value of a type, as plain JSON, in which what is named is one's own."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        found = [extra for extra in parts[1:] if isinstance(extra, Names)]
        return own[found[0].kind][0] if found else sample(parts[0], own, name)
    if name in KNOWN:
        return KNOWN[name]
    if origin in (typing.Union, types.UnionType):
        return sample(parts[0], own, name)
    if origin is Literal:
        return parts[0]
    if origin in (list, tuple):
        return [sample(parts[0], own)]
    if origin is dict:
        return {"key": sample(parts[1], own)} if parts[1] is not Any else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {
            field.name: sample(hints[field.name], own, field.name)
            for field in msgspec.structs.fields(kind)
            if field.required
        }
    plain: dict[Any, Any] = {int: 1, float: 1.0, bool: False, str: "x", bytes: "", Any: "x"}
    return EPOCH.isoformat() if kind is datetime else plain.get(kind)


KNOWN: dict[str, Any] = {
    "number": 1,
    "version": "1",
    "key": "own-tag",
    "metric_key": "loss",
    "stage": "Staging",
    "alias": "old",
    "stages": [],
    "points": {},
    "tag_key": "own-t",
    "assessment_id": "a-own",
    "source_type": "local",
    "events": ["MODEL_VERSION CREATED"],
}
"""Values of parameters by name, where just any would be refused before rights are looked at."""

OPERATIONS = {
    f"/api/v1/{service}/{name}": operation
    for service, kind in kinds_of(stages()).items()
    for name, operation in operations(kind).items()
}


def own_request(path: str, operation: Operation, own: Things) -> Request:
    """A request with an operation's required arguments, about one's own things."""
    given = {
        name: sample(parameter.kind, own, name)
        for name, parameter in operation.parameters.items()
        if parameter.required
    }
    return Request(operation.method, path, given)


def texts(kind: Any, place: tuple[Any, ...], depth: int = 0) -> Iterator[tuple[Any, ...]]:
    """The places of a type at which any text may stand that is said to name nothing."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if kind is str:
        yield place
    elif origin in (list, tuple):
        yield from texts(parts[0], (*place, 0), depth)
    elif origin is dict and parts[1] is not Any:
        yield from texts(parts[1], (*place, "key"), depth)
    elif origin in (typing.Union, types.UnionType):
        for option in parts:
            yield from texts(option, place, depth)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct) and depth < 2:
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            yield from texts(hint, (*place, name), depth + 1)


def kind_of(call: Call, field: str) -> str | None:
    """The kind of thing that a field of MLflow's protocol names."""
    resource = call.path.partition("/")[0]
    if f"{resource}.{field}" in _NUMBERS:
        return None
    return _KINDS.get(f"{resource}.{field}", _KINDS.get(field))


def prefixes(call: Call) -> list[str]:
    """What stands before a call's path at each place where it is answered."""
    return [path.removesuffix(f"/{call.path}") for path in paths(call)]


def mlflow_request(call: Call, own: Things, prefix: str = "") -> tuple[Request, list[Slot]]:
    """A call about one's own things, and where it names them."""
    prefix = prefix or prefixes(call)[0]
    given: dict[str, Any] = {}
    found: list[Slot] = []
    hints = typing.get_type_hints(call.ask)
    for field in msgspec.structs.fields(call.ask):
        kind, several = kind_of(call, field.name), "list" in str(hints[field.name])
        if kind is not None:
            value = str(own[kind][0])
            given[field.name] = [value] if several else value
            found.append(Slot((field.name, 0) if several else (field.name,), kind))
        elif field.name in MLFLOW_KNOWN:
            given[field.name] = MLFLOW_KNOWN[field.name]
        elif hints[field.name] is str:
            given[field.name] = "" if field.name == "run_uuid" else "x"
    given = {name: value for name, value in given.items() if name not in LEFT_OUT}
    if "trace" in hints and call.path == "traces":
        experiment = {"experiment_id": str(own["experiment"][0])}
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": experiment}
        info = {"trace_id": "tr-own", "trace_location": place, "state": "OK"}
        given = {"trace": {"trace_info": info}}
        at = ("trace", "trace_info")
        where = (*at, "trace_location", "mlflow_experiment", "experiment_id")
        found = [Slot(where, "experiment"), Slot((*at, "trace_id"), "trace that may have begun")]
    if call.path == "traces/search":
        experiment = {"experiment_id": str(own["experiment"][0])}
        given["locations"] = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": experiment}]
        inside = ("locations", 0, "mlflow_experiment", "experiment_id")
        found.append(Slot(inside, "experiment"))
    if "models" in hints and call.path.startswith("runs/"):
        given["models"] = [{"model_id": str(own["logged model"][0]), "step": 1}]
        found.append(Slot(("models", 0, "model_id"), "logged model"))
    method = call.methods[-1]
    facts = facts_of(method, f"{prefix}/{call.path}")
    for name, kind in facts.fields.items():
        if "|" in kind and name in given:
            given[name] = kind.split("|")[-1]
        elif name in facts.required and name not in given:
            given[name] = [] if kind.endswith("[]") else {"string": "x"}.get(kind, {})
    return Request(method, f"{prefix}/{call.path}", given), found


MLFLOW_KNOWN: dict[str, Any] = {
    **{name: KNOWN[name] for name in ("key", "metric_key", "alias", "tag_key", "assessment_id")},
    "version": "1",
    "stage": "Staging",
    "filter": "",
    "page_token": "",
    "status": "FINISHED",
    "view_type": "ALL",
    "run_view_type": "ALL",
    "model_json": "{}",
    "path": "",
    "artifact_directory_path": "",
    "new_name": "own-new",
}
LEFT_OUT = ("run_uuid", "artifact_location")
