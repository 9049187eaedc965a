"""Answers GraphQL as MLflow's pages ask it: each field is a call of the protocol, with rights."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.access.model import Caller
from treadle.http.auth import CallerCache, caller_of
from treadle.http.bodies import body_of
from treadle.http.mlflow.protocol import demand_fields, facts_of
from treadle.http.mlflow.wire import Call, NotSupported, code_of, failed, permitted
from treadle.http.rights import Rights
from treadle.http.searching import Apart, TurnRoute, running
from treadle.kernel.entity import from_json, from_plain, to_json, to_plain
from treadle.kernel.errors import Invalid, TreadleError
from treadle.platform.wiring import Embedded

PATH = "/graphql"
CALLS = {
    "mlflowGetExperiment": "experiments/get",
    "mlflowGetRun": "runs/get",
    "mlflowSearchRuns": "runs/search",
    "mlflowSearchModelVersions": "model-versions/search",
    "mlflowGetMetricHistoryBulkInterval": "metrics/get-history-bulk-interval",
    "mlflowListArtifacts": "artifacts/list",
    "mlflowSearchDatasets": "experiments/search-datasets",
}
"""The call that answers a field of a query."""
MOST_BYTES, MOST_TOKENS, MOST_FIELDS = 256 << 10, 800, 10
"""Limits of a request: its size, the tokens of its query, and the things that it asks for."""
MOST_VALUES, MOST_AROUND = 100_000, 200
"""Limits of an answer: its values, and the calls for what stands around runs. Seconds of work."""


class _Asked(msgspec.Struct):
    """A request of GraphQL's over HTTP."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None


class _Spent(BaseException):
    """The answer would be too large. No ``Exception``: GraphQL would go on with the next field."""


class _Asking:
    """What the fields of one request are answered by.

    Args:
        calls: The calls of the protocol, by path.
        perform: Does a call as its caller may.
    """

    def __init__(self, calls: Mapping[str, Call], perform: Callable[[Call, Any], Any]) -> None:
        self._calls, self._perform = calls, perform
        self._left, self._values = MOST_FIELDS, 0
        self._known: dict[tuple[str, str], Any] = {}

    def answer(self, field: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a field of a query.

        Args:
            field: The field's name.
            given: Its input, with names as GraphQL has them.

        Returns:
            What the call answers, or the error.
        """
        if not self._left:
            raise Invalid(f"A request asks for {MOST_FIELDS} things at most.")
        self._left -= 1
        return self._done(CALLS[field], {_snake(name): one for name, one in given.items()})

    def count(self) -> None:
        """Count a value of the answer."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise _Spent(f"more than {MOST_VALUES:,} values")

    def around(self, path: str, name: str, value: str) -> dict[str, Any]:
        """Answer what stands around a run; each thing is asked for once a request.

        Args:
            path: The call's path.
            name: The name of the call's field.
            value: Its value.
        """
        key = (path, value)
        if key not in self._known:
            if len(self._known) >= MOST_AROUND:
                raise _Spent(f"what stands around more than {MOST_AROUND} runs")
            self._known[key] = self._done(path, {name: value})
        found: dict[str, Any] = self._known[key]
        return found

    def _done(self, path: str, given: dict[str, Any]) -> dict[str, Any]:
        call = self._calls[path]
        present = {name: one for name, one in given.items() if one is not None}
        if "run_uuid" in present:
            present.setdefault("run_id", present["run_uuid"])
        try:
            demand_fields(facts_of(call.methods[0], f"/api/2.0/mlflow/{path}"), present)
            answer = self._perform(call, from_plain(present, call.ask, strict=False))
        except TreadleError as error:
            return {"api_error": {"code": code_of(error), "message": error.message}}
        plain = to_plain(answer)
        return plain if isinstance(plain, dict) else {}


def graphql_route(platform: Embedded, calls: list[Call]) -> Route:
    """Return the route.

    Args:
        platform: The services that answer.
        calls: The calls of the protocol.
    """
    rights = Rights(platform)
    by_path = {call.path: call for call in calls}
    run = running("search")

    async def endpoint(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
            asked = from_json(await body_of(request, MOST_BYTES), _Asked)
            content = await run(_answered, platform, rights, by_path, caller, asked)
        except TreadleError as error:
            return failed(error)
        return Response(content, media_type="application/json")

    apart = Apart(CallerCache(platform).caller, MOST_BYTES)
    return TurnRoute(PATH, endpoint, turn="search", apart=apart, methods=["POST"])


def _answered(
    platform: Embedded, rights: Rights, calls: Mapping[str, Call], caller: Caller, asked: _Asked
) -> bytes:
    """Answer a request, as JSON."""
    try:
        from graphql import GraphQLError, execute, parse, validate
    except ImportError as error:
        raise NotSupported(
            "GraphQL, by which MLflow's pages ask, needs 'pip install treadle[mlflow-pages]'."
        ) from error
    asking = _Asking(calls, lambda call, ask: permitted(platform, rights, call, caller, ask))
    schema = _schema()
    try:
        document = parse(asked.query, max_tokens=MOST_TOKENS)
    except GraphQLError as error:
        raise Invalid(f"The query cannot be read: {error.message}") from error
    if wrong := validate(schema, document, max_errors=5):
        return to_json({"errors": [{"message": one.message} for one in wrong]})
    try:
        result: Any = execute(
            schema,
            document,
            context_value=asking,
            variable_values=asked.variables,
            operation_name=asked.operationName,
            field_resolver=_resolved,
        )
    except _Spent as spent:
        raise Invalid(f"The query asks for {spent}. Ask for fewer at once.") from spent
    told: dict[str, Any] = {"data": result.data}
    for wrong_field in result.errors or ():
        cause = wrong_field.original_error
        if cause is not None and not isinstance(cause, TreadleError | GraphQLError):
            raise cause  # a defect, or a full disk: answered and logged like any other
        told.setdefault("errors", []).append({"message": wrong_field.message})
    return to_json(told)


@cache
def _schema() -> Any:
    from graphql import build_schema

    text = files("treadle.http.mlflow").joinpath("schema.graphql").read_text(encoding="utf-8")
    return build_schema(text)


def _resolved(source: Any, info: Any, **arguments: Any) -> Any:
    """The value of a field: a call's answer, what stands around a run, or a part of an answer."""
    name, asking = info.field_name, info.context
    asking.count()
    if source is None:
        return asking.answer(name, arguments.get("input") or {})
    if info.parent_type.name == "MlflowRunExtension" and name in ("experiment", "modelVersions"):
        run = source.get("info", {})
        if name == "experiment":
            known = asking.around("experiments/get", "experiment_id", run.get("experiment_id", ""))
            return known.get("experiment")
        mine = f"run_id='{run.get('run_id', '')}'"
        return asking.around("model-versions/search", "filter", mine).get("model_versions", [])
    value, kind = source.get(_snake(name)), str(info.return_type)
    if value is None:
        return None
    if kind == "LongString":
        return str(value)
    if kind == "Float":  # MLflow's pages take null for what is no number
        return float(value) if math.isfinite(float(value)) else None
    return value


@cache
def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
