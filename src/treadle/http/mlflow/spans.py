"""Receives spans as OpenTelemetry sends them, as protobuf over HTTP."""

import gzip
import io
from datetime import UTC
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.http.auth import caller_of
from treadle.http.bodies import body_of
from treadle.http.mlflow.experiments import found
from treadle.http.mlflow.wire import MAX_BODY_BYTES, failed
from treadle.http.rights import Rights
from treadle.kernel.clock import from_micros
from treadle.kernel.errors import Invalid, TooLarge, TreadleError, missing_extra
from treadle.kernel.operation import Named
from treadle.platform.wiring import Embedded
from treadle.tracking.trace_contents import Span
from treadle.tracking.trace_facts import Info

SPANS_ARE_HERE = {"mlflow.trace.spansLocation": "TRACKING_STORE"}
"""The tag in which clients look for where a trace's spans are."""


def span_route(platform: Embedded) -> Route:
    """Return the route `POST /v1/traces`, which takes OpenTelemetry's spans as protobuf.

    A header names the experiment that the spans belong to.

    Args:
        platform: The services that answer.
    """
    rights = Rights(platform)

    async def endpoint(request: Request) -> Response:
        try:
            caller = await run_in_threadpool(caller_of, platform, request)
            experiment = request.headers.get("x-mlflow-experiment-id", "")
            place = Named("experiment", experiment)
            await run_in_threadpool(rights.demand, caller, "editor", [place], {})
            body = await body_of(request, MAX_BODY_BYTES)
            if not experiment:
                raise Invalid("Missing required header: x-mlflow-experiment-id")
            if request.headers.get("content-encoding") == "gzip":
                body = await run_in_threadpool(_inflated, body)
            spans = await run_in_threadpool(_spans, body)
            traces = [Named("trace that may have begun", id) for id in {id for id, _ in spans}]
            await run_in_threadpool(rights.demand, caller, "editor", [place, *traces], {})
            number = (await run_in_threadpool(found, platform, experiment)).id
            await run_in_threadpool(
                lambda: platform.traces.add_spans(
                    experiment=number,
                    spans=spans,
                    begun=partial(_begun, number),
                    tags=SPANS_ARE_HERE,
                )
            )
        except TreadleError as error:
            return failed(error)
        return Response(b"", media_type="application/x-protobuf")

    return Route("/v1/traces", endpoint, methods=["POST"])


def _inflated(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
            whole = file.read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError) as error:
        raise Invalid("The body is not gzip, though its header says so.") from error
    if len(whole) > MAX_BODY_BYTES:
        raise TooLarge(f"The body is larger than {MAX_BODY_BYTES >> 20} MiB.")
    return whole


def _begun(experiment: int, trace: str, spans: list[Span]) -> Info:
    """The facts of a trace that begins with its spans, as clients write them."""
    start = min(int(span.get("start_time_unix_nano", 0)) for span in spans)
    root = next((span for span in spans if not span.get("parent_span_id")), spans[0])
    return {
        "trace_id": trace,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": str(experiment)},
        },
        "request_time": from_micros(start // 1000)
        .astimezone(UTC)
        .isoformat()
        .replace("+00:00", "Z"),
        "state": "IN_PROGRESS",
        "tags": {"mlflow.traceName": str(root.get("name", ""))},
        "trace_metadata": {},
    }


def _spans(body: bytes) -> list[tuple[str, Span]]:
    """Spans as JSON in protobuf's field names, with the ids of their traces."""
    try:
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )
    except ModuleNotFoundError as error:
        raise missing_extra("traces", "Receiving spans") from error
    message = ExportTraceServiceRequest()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Invalid("Invalid OpenTelemetry protobuf format") from error
    spans = [
        span
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [
        (
            f"tr-{span.trace_id.hex()}",
            {**MessageToDict(span, preserving_proto_field_name=True), "name": span.name},
        )
        for span in spans
    ]
