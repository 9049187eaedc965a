"""Serves MLflow's calls for traces; spans arrive as OpenTelemetry sends them."""

import gzip
import io
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.http.auth import caller_of
from treadle.http.mlflow.experiments import found, numbered
from treadle.http.mlflow.runs import moment
from treadle.http.mlflow.wire import MAX_BODY_BYTES, Ask, Call, KeyValue, failed, paged, present
from treadle.http.rights import Rights
from treadle.http.routes import body_of
from treadle.kernel.errors import Invalid, NotFound, TooLarge, TreadleError, missing_extra
from treadle.kernel.ids import new_id
from treadle.kernel.operation import Named
from treadle.platform.wiring import Embedded
from treadle.tracking.traces import Info


class Start(Ask):
    """Fields of the call that begins a trace."""

    trace: dict[str, Any] = {}


class Get(Ask):
    """Fields of calls that name a trace."""

    trace_id: str = ""


class Batch(Ask):
    """Fields of calls that name several traces."""

    trace_ids: list[str] = []


class Search(Ask):
    """Fields of `traces/search`."""

    locations: list[dict[str, Any]] = []
    experiment_ids: list[str] = []
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


class Tag(KeyValue):
    """Fields of calls that set or delete a trace's tag."""

    trace_id: str = ""


class Delete(Ask):
    """Fields of `traces/delete-traces`."""

    experiment_id: str = ""
    request_ids: list[str] = []
    trace_ids: list[str] = []
    max_timestamp_millis: int | None = None
    max_traces: int | None = None


class Assess(Ask):
    """Fields of calls on an assessment of a trace."""

    trace_id: str = ""
    assessment_id: str = ""
    assessment: dict[str, Any] = {}


class Link(Ask):
    """Fields of `traces/link-to-run`."""

    trace_ids: list[str] = []
    run_id: str = ""


def start(platform: Embedded, ask: Start) -> dict[str, Any]:
    """Store the facts of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    info: Info = dict(ask.trace.get("trace_info") or {})
    location = info.get("trace_location", {}).get("mlflow_experiment", {})
    experiment = found(platform, str(location.get("experiment_id", "0")))
    kept = platform.traces.put(experiment=experiment.id, info=info)
    uri = f"{experiment.artifacts_at}/traces/{kept['trace_id']}/artifacts"
    tags = {"mlflow.artifactLocation": uri}
    kept = platform.traces.change(
        kept["trace_id"], lambda info: info.setdefault("tags", {}).update(tags)
    )
    return {"trace": {"trace_info": kept}}


def get_info(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return the facts of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"trace": {"trace_info": platform.traces.get(ask.trace_id)}}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return a trace with its spans.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {
        "trace": {
            "trace_info": platform.traces.get(ask.trace_id),
            "spans": platform.traces.spans(ask.trace_id),
        }
    }


def batch(platform: Embedded, ask: Batch) -> dict[str, Any]:
    """Return traces with their spans.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    ids = _known(platform, ask.trace_ids)
    return {"traces": [get(platform, Get(trace_id=id))["trace"] for id in ids]}


def batch_infos(platform: Embedded, ask: Batch) -> dict[str, Any]:
    """Return the facts of traces.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"trace_infos": [platform.traces.get(id) for id in _known(platform, ask.trace_ids)]}


def _known(platform: Embedded, ids: list[str]) -> list[str]:
    """Those of the ids whose traces exist; the others are no error."""
    known = []
    for id in ids:
        try:
            platform.traces.get(id)
        except NotFound:
            continue
        known.append(id)
    return known


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search traces.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    located = [
        location.get("mlflow_experiment", {}).get("experiment_id", "") for location in ask.locations
    ]
    experiments = [numbered(str(id)) for id in [*located, *ask.experiment_ids] if id]
    every = platform.traces.search(experiments=experiments, filter=ask.filter, orders=ask.order_by)
    page, token = paged(every, max(1, min(ask.max_results, 500)), ask.page_token)
    return present(traces=page, next_page_token=token)


def set_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.traces.change(
        ask.trace_id, lambda info: info.setdefault("tags", {}).update({ask.key: ask.value})
    )


def delete_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """

    def change(info: Info) -> None:
        if info.get("tags", {}).pop(ask.key, None) is None:
            raise NotFound(f"No trace tag with key '{ask.key}' for trace with ID '{ask.trace_id}'")

    platform.traces.change(ask.trace_id, change)


def delete(platform: Embedded, ask: Delete) -> dict[str, Any]:
    """Delete traces by their ids, or those of before a moment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    ids = [*ask.request_ids, *ask.trace_ids]
    if not ids and ask.max_timestamp_millis is None:
        raise Invalid("Either `max_timestamp_millis` or `trace_ids` must be specified.")
    deleted = platform.traces.delete(
        experiment=numbered(ask.experiment_id),
        ids=ids,
        before=moment(ask.max_timestamp_millis),
        most=ask.max_traces,
    )
    return {"traces_deleted": deleted}


def assess(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Add an assessment to a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    now = platform.clock.now().isoformat().replace("+00:00", "Z")
    assessment = {
        "create_time": now,
        "last_update_time": now,
        **ask.assessment,
        "trace_id": ask.trace_id,
    }
    assessment.setdefault("assessment_id", new_id("a").replace("_", "-"))
    platform.traces.change(
        ask.trace_id, lambda info: info.setdefault("assessments", []).append(assessment)
    )
    return {"assessment": assessment}


def _assessment(info: Info, id: str) -> dict[str, Any]:
    for assessment in info.get("assessments", []):
        if assessment.get("assessment_id") == id:
            known: dict[str, Any] = assessment
            return known
    raise NotFound(f"Assessment with ID '{id}' not found for trace '{info['trace_id']}'")


def get_assessment(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Return an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    return {"assessment": _assessment(platform.traces.get(ask.trace_id), ask.assessment_id)}


def change_assessment(platform: Embedded, ask: Assess) -> dict[str, Any]:
    """Change an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    info = platform.traces.change(
        ask.trace_id, lambda info: _assessment(info, ask.assessment_id).update(ask.assessment)
    )
    return {"assessment": _assessment(info, ask.assessment_id)}


def delete_assessment(platform: Embedded, ask: Assess) -> None:
    """Delete an assessment.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    platform.traces.change(
        ask.trace_id, lambda info: info["assessments"].remove(_assessment(info, ask.assessment_id))
    )


def link(platform: Embedded, ask: Link) -> None:
    """Link traces to the run that they come from.

    Args:
        platform: The services that answer.
        ask: The request's fields.
    """
    source = {"mlflow.sourceRun": ask.run_id}
    for id in ask.trace_ids:
        platform.traces.change(
            id, lambda info: info.setdefault("trace_metadata", {}).update(source)
        )


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
            await run_in_threadpool(
                rights.demand, caller, "editor", [Named("experiment", experiment)], {}
            )
            body = await body_of(request, MAX_BODY_BYTES)
            if not experiment:
                raise Invalid("Missing required header: x-mlflow-experiment-id")
            if request.headers.get("content-encoding") == "gzip":
                body = await run_in_threadpool(_inflated, body)
            spans = await run_in_threadpool(_spans, body)
            number = (await run_in_threadpool(found, platform, experiment)).id
            await run_in_threadpool(
                lambda: platform.traces.add_spans(experiment=number, spans=spans)
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


def _spans(body: bytes) -> list[tuple[str, dict[str, Any]]]:
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


CALLS = [
    Call(("POST",), "traces", Start, "editor", start),
    Call(("GET",), "traces/get", Get, "viewer", get),
    Call(("GET",), "traces/batchGet", Batch, "viewer", batch),
    Call(("POST",), "traces/batchGetInfos", Batch, "viewer", batch_infos),
    Call(("POST",), "traces/search", Search, "viewer", search),
    Call(("POST",), "traces/delete-traces", Delete, "editor", delete),
    Call(("POST",), "traces/link-to-run", Link, "editor", link),
    Call(("GET",), "traces/{trace_id}", Get, "viewer", get_info),
    Call(("PATCH",), "traces/{trace_id}/tags", Tag, "editor", set_tag),
    Call(("DELETE",), "traces/{trace_id}/tags", Tag, "editor", delete_tag),
    Call(("POST",), "traces/{trace_id}/assessments", Assess, "editor", assess),
    Call(
        ("GET",), "traces/{trace_id}/assessments/{assessment_id}", Assess, "viewer", get_assessment
    ),
    Call(
        ("PATCH",),
        "traces/{trace_id}/assessments/{assessment_id}",
        Assess,
        "editor",
        change_assessment,
    ),
    Call(
        ("DELETE",),
        "traces/{trace_id}/assessments/{assessment_id}",
        Assess,
        "editor",
        delete_assessment,
    ),
]
