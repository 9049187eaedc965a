"""Reads requests and writes answers, numbers and errors as MLflow's protocol does."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.access.model import Caller
from treadle.http.auth import CallerCache, caller_of
from treadle.http.bodies import body_of
from treadle.http.mlflow.naming import named
from treadle.http.mlflow.protocol import Facts, demand_fields, facts_of, is_route, reason
from treadle.http.rights import Rights, demand, sight
from treadle.http.searching import Apart, Turn, TurnRoute, is_search, running
from treadle.kernel.clock import from_micros, to_micros
from treadle.kernel.entity import from_json, from_plain, to_json
from treadle.kernel.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    TooSlow,
    TreadleError,
    Unauthenticated,
    Unavailable,
)
from treadle.kernel.event import acting
from treadle.kernel.ids import new_id
from treadle.kernel.operation import Role
from treadle.platform.wiring import Embedded

VERSIONS = ("2.0", "3.0")
PREFIXES = tuple(
    f"{root}/{version}/mlflow" for root in ("/api", "/ajax-api") for version in VERSIONS
)
PAGES = "/mlflow"
"""Where MLflow's own pages are; what they ask for has the server's paths below that."""
MAX_BODY_BYTES = 64 << 20
LISTED = ("experiments/search", "registered-models/search", "model-versions/search")
"""Calls that list things of all projects that the caller may see."""

CODES: dict[type[TreadleError], tuple[int, str]] = {
    Invalid: (400, "INVALID_PARAMETER_VALUE"),
    Conflict: (400, "RESOURCE_ALREADY_EXISTS"),
    NotFound: (404, "RESOURCE_DOES_NOT_EXIST"),
    Forbidden: (403, "PERMISSION_DENIED"),
    Unauthenticated: (401, "UNAUTHENTICATED"),
    TooLarge: (400, "INVALID_PARAMETER_VALUE"),
    TooSlow: (408, "REQUEST_TIMEOUT"),
    Busy: (429, "REQUEST_LIMIT_EXCEEDED"),
    Unavailable: (503, "TEMPORARILY_UNAVAILABLE"),
}


class NoEndpoint(NotFound):
    """MLflow has no such route; clients of newer releases fall back on an older one."""


class NotSupported(TreadleError):
    """MLflow has the route, and Treadle refuses it on purpose."""

    status = 501


CODES |= {NoEndpoint: (404, "ENDPOINT_NOT_FOUND"), NotSupported: (501, "NOT_IMPLEMENTED")}


class Ask(msgspec.Struct, kw_only=True):
    """A request's fields. Others are ignored, as the protocol demands."""


class KeyValue(Ask):
    """A key with its value."""

    key: str = ""
    value: str = ""


class Call(NamedTuple):
    """One call of the protocol.

    Attributes:
        methods: The HTTP methods.
        path: The path behind the prefix; it may have parameters in braces.
        ask: The request's fields.
        role: The role that the caller needs.
        do: Answers the call; returns the answer's fields, or None for an empty answer.
        versions: The versions of the protocol that have the call.
    """

    methods: tuple[str, ...]
    path: str
    ask: type[Ask]
    role: Role
    do: Callable[[Embedded, Any], Any]
    versions: tuple[str, ...] = VERSIONS


def routes(platform: Embedded, calls: list[Call]) -> list[Route]:
    """Return the routes of calls, under every prefix that clients use.

    Args:
        platform: The services that answer.
        calls: The calls.
    """
    rights, apart = Rights(platform), Apart(CallerCache(platform).caller, MAX_BODY_BYTES)
    return [
        TurnRoute(
            path,
            _endpoint(platform, rights, call, path),
            turn=_turn(call),
            apart=apart,  # all of them that wait for a turn are searches
            methods=list(call.methods),
        )
        for call in calls
        for path in paths(call)
    ]


def paths(call: Call) -> list[str]:
    """Return the paths at which a call is answered.

    Args:
        call: The call.
    """
    return [
        f"{root}/{version}/mlflow/{call.path}"
        for root in ("/api", "/ajax-api")
        for version in call.versions
    ]


def permitted(platform: Embedded, rights: Rights, call: Call, caller: Caller, ask: Any) -> Any:
    """Do a call as its caller may.

    Args:
        platform: The services that answer.
        rights: What callers may.
        call: The call.
        caller: Who asks.
        ask: The fields.

    Returns:
        The answer's fields, or None for an empty answer.

    Raises:
        Forbidden: The caller does not hold the role in a project of what is named.
    """
    given = msgspec.structs.asdict(ask)
    whole = rights.demand(caller, call.role, named(given, call.path.partition("/")[0]), given)
    if not whole and call.path not in LISTED:
        demand(caller, call.role)
    with acting(caller.name), sight(caller):
        return call.do(platform, ask)


def other_routes(platform: Embedded) -> list[Route]:
    """Return the routes that refuse all that no other route has answered.

    Args:
        platform: The services that know the caller.
    """

    async def endpoint(request: Request) -> Response:
        try:
            await run_in_threadpool(caller_of, platform, request)
            raise refusal(request.method, request.url.path)
        except TreadleError as error:
            return failed(error)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    kinds = ("mlflow", "mlflow-artifacts", "jobs")
    prefixes = [
        f"{root}/{version}/{kind}"
        for root in ("/api", "/ajax-api")
        for version in VERSIONS
        for kind in kinds
    ]
    return [
        Route(f"{prefix}{{rest:path}}", endpoint, methods=methods)
        for prefix in [*prefixes, "/gateway", "/graphql"]
    ]


def refusal(method: str, path: str) -> TreadleError:
    """Return the error that refuses a route, which says why or that MLflow has none such.

    Args:
        method: The HTTP method.
        path: The path.
    """
    why = reason(path) if is_route(method, path) else None
    if why is None:
        return NoEndpoint(f"There is no {method} {path} in MLflow's protocol as it is served here.")
    return NotSupported(f"{method} {path} is not supported: {why}.")


def _turn(call: Call) -> Turn:
    return "search" if is_search(call.path) else "quick"


def _endpoint(
    platform: Embedded, rights: Rights, call: Call, path: str
) -> Callable[[Request], Any]:
    resource = call.path.partition("/")[0]
    run = running(_turn(call))
    facts = {method: facts_of(method, path) for method in call.methods}

    async def endpoint(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
            if not caller.may_somewhere(call.role):
                demand(caller, call.role)
            ask = await asked(request, call.ask, facts.get(request.method, Facts()))
            given = msgspec.structs.asdict(ask)
            whole = await run_in_threadpool(
                rights.demand, caller, call.role, named(given, resource), given
            )
            if not whole and call.path not in LISTED:
                demand(caller, call.role)
            with acting(caller.name), sight(caller):
                answer = await run(call.do, platform, ask)
        except TreadleError as error:
            return failed(error)
        content = to_json(answer if answer is not None else {})
        return Response(content, media_type="application/json")

    return endpoint


async def asked(request: Request, kind: type[Any], facts: Facts) -> Any:
    """Read a request's fields from its path, its query and its JSON body.

    Args:
        request: The request.
        kind: The class of the fields, a subclass of `Ask`.
        facts: What MLflow's releases demand of the fields.

    Raises:
        Invalid: The body is no JSON object, or a field has a wrong type or is missing.
        TooLarge: The body is larger than `MAX_BODY_BYTES`.
    """
    given: dict[str, Any] = {}
    query = request.query_params
    lists = {field.name for field in msgspec.structs.fields(kind) if "list" in str(field.type)}
    for name in query:
        given[name] = query.getlist(name) if name in lists else query[name]
    if request.method != "GET":
        given |= fields_in(await body_of(request, MAX_BODY_BYTES))
    if "run_uuid" in given:
        given.setdefault("run_id", given["run_uuid"])
    given |= request.path_params
    demand_fields(facts, given)
    return from_plain(given, kind, strict=False)


def fields_in(body: bytes) -> dict[str, Any]:
    """Return the fields of a request's body; null stands for no value, at any depth.

    Args:
        body: The body; old clients encode its JSON as a text, and encode that again.

    Raises:
        Invalid: The body is no JSON object.
    """
    sent = from_json(body, object) if body.strip() else {}
    if isinstance(sent, str):
        sent = from_json(sent, object)
    if not isinstance(sent, dict):
        raise Invalid("The body must be a JSON object.")
    fields: dict[str, Any] = _without_nulls(sent)
    return fields


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    return value


def failed(error: TreadleError) -> Response:
    """Return an error in the form that clients of the protocol know.

    Args:
        error: The error.
    """
    status, code = _coded(error)
    headers = {"WWW-Authenticate": 'Basic realm="mlflow"'} if status == 401 else {}
    if error.retry:
        headers["Retry-After"] = "1"
    content = to_json({"error_code": code, "message": error.message})
    return Response(content, status_code=status, media_type="application/json", headers=headers)


def code_of(error: TreadleError) -> str:
    """Return the code by which clients of the protocol know an error.

    Args:
        error: The error.
    """
    return _coded(error)[1]


def _coded(error: TreadleError) -> tuple[int, str]:
    return CODES.get(type(error), (500, "INTERNAL_ERROR"))


@contextmanager
def saying(kind: type[TreadleError], message: str) -> Iterator[None]:
    """Give errors of a kind the message that clients of the protocol know.

    Args:
        kind: The class of the errors that are raised within the block.
        message: The message.
    """
    try:
        yield
    except kind as error:
        raise kind(message) from error


def dashed_id(kind: str) -> str:
    """Make an id as clients know those of models, traces and assessments, such as `m-01jd2v…`.

    Args:
        kind: The prefix that says what the id names.
    """
    return new_id(kind).replace("_", "-")


def number(value: float | None) -> float | str:
    """Return a number as protobuf's JSON writes it; None is NaN.

    Args:
        value: The number.
    """
    if value is None or math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def moment(millis: int | None) -> datetime | None:
    """Return the moment of a timestamp; None for None and for 0.

    Args:
        millis: Milliseconds since 1970 in UTC.

    Raises:
        Invalid: The timestamp is beyond what a time can be.
    """
    try:
        return None if not millis else from_micros(millis * 1000)
    except OverflowError as error:
        raise Invalid(f"{millis} is beyond what a time can be.") from error


def millis(at: datetime | None) -> int | None:
    """Return a moment as milliseconds since 1970; None for None.

    Args:
        at: The moment.
    """
    return None if at is None else to_micros(at) // 1000


def pairs(values: dict[str, str]) -> list[dict[str, str]]:
    """Return values by key as a list of keys with values.

    Args:
        values: The values by key.
    """
    return [{"key": key, "value": value} for key, value in values.items()]


def present(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None: the protocol leaves empty ones out.

    Args:
        fields: The fields by name.
    """
    return {name: value for name, value in fields.items() if value is not None}


def paged(found: list[Any], limit: int, token: str) -> tuple[list[Any], str | None]:
    """Return a page of a list, and the token of the next page, if there is one.

    Args:
        found: The whole list.
        limit: The page's length.
        token: The token of the page; empty for the first.

    Raises:
        Invalid: The token is malformed.
    """
    start = place_of(token)
    end = start + limit
    return found[start:end], str(end) if end < len(found) else None


def place_of(token: str) -> int:
    """Return the place in a list at which a page begins.

    Args:
        token: The token of the page; empty for the first.

    Raises:
        Invalid: The token is none that a page before has given.
    """
    if token and not (token.isascii() and token.isdecimal() and len(token) < 16):
        raise Invalid("Invalid page token, could not base64-decode")
    return int(token or 0)


def page_length(wanted: int, most: int) -> int:
    """Return the length of a page, if it is one that MLflow's stores accept.

    Args:
        wanted: The length that the request asks for.
        most: The most there may be.

    Raises:
        Invalid: It is less than 1 or more than the most.
    """
    if not 1 <= wanted <= most:
        kind = "a positive integer" if wanted < 1 else f"at most {most}"
        raise Invalid(
            f"Invalid value {wanted} for parameter 'max_results' supplied. It must be {kind}"
        )
    return wanted
