"""Serves the calls for traces as clients of 2.x make them: facts as lists, spans as a file."""

from datetime import datetime
from typing import Any

from treadle.http.mlflow import traces
from treadle.http.mlflow.experiments import active, numbered
from treadle.http.mlflow.protocol import wrong_field
from treadle.http.mlflow.wire import (
    Ask,
    Call,
    KeyValue,
    dashed_id,
    millis,
    moment,
    page_length,
    paged,
    pairs,
    present,
)
from treadle.platform.wiring import Embedded
from treadle.tracking.trace_facts import Info, milliseconds, started_at

V2 = ("2.0",)


class Start(Ask):
    """Fields of the call that begins a trace."""

    experiment_id: str = "0"
    timestamp_ms: int = 0
    request_metadata: list[KeyValue] = []
    tags: list[KeyValue] = []


class End(Ask):
    """Fields of the call that ends a trace."""

    request_id: str = ""
    timestamp_ms: int = 0
    status: str | int = "TRACE_STATUS_UNSPECIFIED"
    request_metadata: list[KeyValue] = []
    tags: list[KeyValue] = []


class Get(Ask):
    """Fields of calls that name a trace."""

    request_id: str = ""


class Search(Ask):
    """Fields of the search for traces."""

    experiment_ids: list[str] = []
    filter: str = ""
    max_results: int = 100
    order_by: list[str] = []
    page_token: str = ""


STATUSES = ("TRACE_STATUS_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS")


def shown(info: Info) -> dict[str, Any]:
    """Return a trace's facts as clients of 2.x read them.

    Args:
        info: The facts.
    """
    inside = info.get("trace_location", {}).get("mlflow_experiment", {})
    took = milliseconds(info.get("execution_duration"))
    return present(
        request_id=info["trace_id"],
        experiment_id=str(inside.get("experiment_id", "0")),
        timestamp_ms=millis(started_at(info)) or 0,
        execution_time_ms=round(took or 0),
        status=info.get("state") or STATUSES[0],
        request_metadata=pairs(info.get("trace_metadata", {})),
        tags=pairs(info.get("tags", {})),
    )


def _written(at: datetime | None) -> str:
    return "1970-01-01T00:00:00Z" if at is None else at.isoformat().replace("+00:00", "Z")


def start(platform: Embedded, ask: Start) -> dict[str, Any]:
    """Begin a trace, whose id the server gives.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such experiment.
        Invalid: The experiment is deleted.
    """
    experiment = active(platform, ask.experiment_id)
    id = dashed_id("tr")
    location = {"mlflow.artifactLocation": f"{experiment.artifacts_at}/traces/{id}/artifacts"}
    info = {
        "trace_id": id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": str(experiment.id)},
        },
        "request_time": _written(moment(ask.timestamp_ms)),
        "state": "IN_PROGRESS",
        "trace_metadata": {one.key: one.value for one in ask.request_metadata},
        "tags": {one.key: one.value for one in ask.tags} | location,
    }
    return {"trace_info": shown(platform.traces.put(experiment=experiment.id, info=info))}


def end(platform: Embedded, ask: End) -> dict[str, Any]:
    """End a trace, with its status and what was learnt on the way.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
        Invalid: There is no such status.
    """
    known: dict[str | int, str] = dict(enumerate(STATUSES)) | {name: name for name in STATUSES}
    status = known.get(ask.status)
    if status is None:
        raise wrong_field("status", ask.status)

    def change(info: Info) -> None:
        if status != STATUSES[0]:
            info["state"] = status
        if ask.timestamp_ms:
            took = ask.timestamp_ms - (millis(started_at(info)) or 0)
            info["execution_duration"] = f"{took / 1000:.3f}".removesuffix(".000") + "s"
        metadata = {one.key: one.value for one in ask.request_metadata}
        info["trace_metadata"] = {**info.get("trace_metadata", {}), **metadata}
        info["tags"] = {**info.get("tags", {}), **{one.key: one.value for one in ask.tags}}

    return {"trace_info": shown(traces.changed(platform, ask.request_id, change))}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return the facts of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """
    return {"trace_info": shown(traces.trace_of(platform, ask.request_id))}


def search(platform: Embedded, ask: Search) -> dict[str, Any]:
    """Search traces.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: An id of an experiment is no number.
        Invalid: The filter, the order or the token cannot be read.
    """
    every = platform.traces.search(
        experiments=[numbered(id) for id in ask.experiment_ids],
        filter=ask.filter,
        orders=ask.order_by,
    )
    page, token = paged(every, page_length(ask.max_results, 500), ask.page_token)
    return present(traces=[shown(info) for info in page], next_page_token=token)


CALLS = [
    Call(("POST",), "traces", Start, "editor", start, V2),
    Call(("GET",), "traces", Search, "viewer", search, V2),
    Call(("PATCH",), "traces/{request_id}", End, "editor", end, V2),
    Call(("GET",), "traces/{request_id}/info", Get, "viewer", get, V2),
]
