"""Answers the calls of training loops fast: past the router, decoded once, committed together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from treadle.http.auth import CallerCache
from treadle.http.bodies import hold
from treadle.http.commit import GroupCommit
from treadle.http.mlflow import models
from treadle.http.mlflow.incoming import (
    LogBatch,
    LogMetric,
    LogText,
    batch_in,
    for_models,
    metric_in,
    param_in,
    refused,
    tag_in,
)
from treadle.http.mlflow.protocol import Facts, demand_fields, facts_of
from treadle.http.mlflow.wire import MAX_BODY_BYTES, PAGES, PREFIXES, failed, fields_in
from treadle.http.rights import Rights, demand_somewhere
from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid, TooLarge, TreadleError
from treadle.kernel.operation import Named
from treadle.platform.wiring import Embedded
from treadle.tracking.ingest import Incoming


class _Write(NamedTuple):
    decode: Callable[[bytes], Any]
    kind: type[Any]
    read: Callable[[Any], Incoming]
    facts: Facts

    def asked(self, body: bytes) -> Any:
        """Decode a body at once; one that does not fit is read again, to say what is wrong."""
        try:
            return self.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            fields = fields_in(body)
            demand_fields(self.facts, fields)
            return from_plain(fields, self.kind, strict=False)

    def incoming(self, ask: Any, body: bytes) -> Incoming:
        """What a request asks to be written, or MLflow's words for the field that is missing."""
        try:
            return self.read(ask)
        except Invalid:
            demand_fields(self.facts, fields_in(body))
            raise


def _write(path: str, kind: type[Any], read: Callable[[Any], Incoming]) -> _Write:
    facts = facts_of("POST", f"/api/2.0/mlflow/{path}")
    return _Write(msgspec.json.Decoder(kind, strict=False).decode, kind, read, facts)


_WRITES = {
    path: _write(path, kind, read)
    for path, kind, read in (
        ("runs/log-metric", LogMetric, metric_in),
        ("runs/log-batch", LogBatch, batch_in),
        ("runs/log-parameter", LogText, param_in),
        ("runs/set-tag", LogText, tag_in),
    )
}
PATHS = {f"{prefix}/{path}": path for prefix in PREFIXES for path in _WRITES}
"""The hot writes by the path that they are sent to."""
_DONE = (
    {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
    },
    {"type": "http.response.body", "body": b"{}"},
)


class FastWrites:
    """An ASGI application that answers the hot writes and passes all else on.

    Args:
        app: The application for all else.
        platform: The services that answer.
    """

    def __init__(self, app: ASGIApp, platform: Embedded) -> None:
        self._platform, self._beyond = platform, app
        self._callers, self._rights = CallerCache(platform), Rights(platform)
        self._commits = GroupCommit(platform.tracking)
        self._writes = {path: _WRITES[name] for path, name in PATHS.items()}
        self._writes |= {f"{PAGES}{path}": write for path, write in self._writes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hot write, or pass the request on.

        Args:
            scope: What ASGI tells of the connection.
            receive: Gives the parts of the request's body.
            send: Takes the parts of the answer.
        """
        write = self._writes.get(scope["path"]) if scope["type"] == "http" else None
        if write is None or scope["method"] != "POST":
            await self._beyond(scope, receive, send)
            return
        try:
            await self._take(write, scope, receive)
        except TreadleError as error:
            await failed(error)(scope, receive, send)
            return
        await send(_DONE[0])
        await send(_DONE[1])

    async def _take(self, write: _Write, scope: Scope, receive: Receive) -> None:
        caller = await self._callers.caller(Request(scope))
        limited = not caller.may("editor")
        if limited:
            demand_somewhere(caller, "editor")
        body = await _body(scope, receive)
        ask = write.asked(body)
        incoming = write.incoming(ask, body)
        of_models = for_models(ask) if isinstance(ask, LogMetric | LogBatch) else []
        if limited:
            named = [Named("run", incoming.run)]
            named += [Named("logged model", model) for model, _ in of_models]
            await run_in_threadpool(self._rights.demand, caller, "editor", named, {})
        try:
            await self._commits.write(incoming)
        except TreadleError as error:
            raise refused(incoming, error) from error
        if of_models:
            await run_in_threadpool(models.measured, self._platform, incoming.run, of_models)


async def _body(scope: Scope, receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise TooLarge(f"The body is larger than {MAX_BODY_BYTES >> 20} MiB.")
            hold(scope, len(part))
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Invalid("The caller left before the request was whole.")
    return body
