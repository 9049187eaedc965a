"""Serves MLflow's calls for traces."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from treadle.http.mlflow.experiments import active, numbered
from treadle.http.mlflow.wire import (
    Ask,
    Call,
    KeyValue,
    dashed_id,
    moment,
    page_length,
    paged,
    present,
    saying,
)
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded
from treadle.tracking.trace_facts import Info


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


class Link(Ask):
    """Fields of `traces/link-to-run`."""

    trace_ids: list[str] = []
    run_id: str = ""


class PromptVersion(Ask):
    """A version of a prompt."""

    name: str = ""
    version: str = ""


class LinkPrompts(Ask):
    """Fields of `traces/link-prompts`."""

    trace_id: str = ""
    prompt_versions: list[PromptVersion] = []


LINKED_PROMPTS = "mlflow.linkedPrompts"


def trace_of(platform: Embedded, id: str) -> Info:
    """Return the facts of a trace.

    Args:
        platform: The services that answer.
        id: The trace's id.

    Raises:
        NotFound: There is no such trace.
    """
    with saying(NotFound, f"Trace with ID '{id}' not found."):
        return platform.traces.get(id)


def changed(platform: Embedded, id: str, change: Callable[[Info], None]) -> Info:
    """Change the facts of a trace in place.

    Args:
        platform: The services that answer.
        id: The trace's id.
        change: Changes the facts; what it raises changes nothing.

    Returns:
        The changed facts.

    Raises:
        NotFound: There is no such trace.
    """
    trace_of(platform, id)
    return platform.traces.change(id, change)


def start(platform: Embedded, ask: Start) -> dict[str, Any]:
    """Store the facts of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such experiment.
        Invalid: The time of the request is no time.
    """
    info: Info = dict(ask.trace.get("trace_info") or {})
    location = info.get("trace_location", {}).get("mlflow_experiment", {})
    experiment = active(platform, str(location.get("experiment_id", "0")))
    given = info.get("trace_id") or info.get("request_id")
    info["trace_id"] = str(given or dashed_id("tr"))
    kept = platform.traces.put(experiment=experiment.id, info=info)
    uri = f"{experiment.artifacts_at}/traces/{kept['trace_id']}/artifacts"
    tags = {"mlflow.artifactLocation": uri}
    kept = changed(
        platform, kept["trace_id"], lambda info: info.setdefault("tags", {}).update(tags)
    )
    return {"trace": {"trace_info": kept}}


def get_info(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return the facts of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """
    return {"trace": {"trace_info": trace_of(platform, ask.trace_id)}}


def get(platform: Embedded, ask: Get) -> dict[str, Any]:
    """Return a trace with its spans.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """
    return {
        "trace": {
            "trace_info": trace_of(platform, ask.trace_id),
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
    return {"trace_infos": [trace_of(platform, id) for id in _known(platform, ask.trace_ids)]}


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

    Raises:
        NotFound: An id of an experiment is no number.
        Invalid: The filter, the order or the token cannot be read.
    """
    located = [
        location.get("mlflow_experiment", {}).get("experiment_id", "") for location in ask.locations
    ]
    experiments = [numbered(str(id)) for id in [*located, *ask.experiment_ids] if id]
    every = platform.traces.search(experiments=experiments, filter=ask.filter, orders=ask.order_by)
    page, token = paged(every, page_length(ask.max_results, 500), ask.page_token)
    return present(traces=page, next_page_token=token)


def set_tag(platform: Embedded, ask: Tag) -> None:
    """Set a tag of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """
    changed(
        platform,
        ask.trace_id,
        lambda info: info.setdefault("tags", {}).update({ask.key: ask.value}),
    )


def delete_tag(platform: Embedded, ask: Tag) -> None:
    """Delete a tag of a trace.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace, or it has no such tag.
    """

    def change(info: Info) -> None:
        if info.get("tags", {}).pop(ask.key, None) is None:
            raise NotFound(f"No trace tag with key '{ask.key}' for trace with ID '{ask.trace_id}'")

    changed(platform, ask.trace_id, change)


def delete(platform: Embedded, ask: Delete) -> dict[str, Any]:
    """Delete traces by their ids, or those of before a moment.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        Invalid: The request says neither which traces nor until when.
        NotFound: The id of the experiment is no number.
    """
    ids = [*ask.request_ids, *ask.trace_ids]
    if not ids and ask.max_timestamp_millis is None:
        raise Invalid("Either `max_timestamp_millis` or `trace_ids` must be specified.")
    if ids and ask.max_timestamp_millis is not None:
        raise Invalid("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")
    if ids and ask.max_traces is not None:
        raise Invalid("`max_traces` can't be specified if `trace_ids` is specified.")
    if ask.max_traces is not None and ask.max_traces < 1:
        raise Invalid(f"`max_traces` must be a positive integer, received {ask.max_traces}.")
    deleted = platform.traces.delete(
        experiment=numbered(ask.experiment_id),
        ids=ids,
        before=_before(ask.max_timestamp_millis),
        most=ask.max_traces,
    )
    return {"traces_deleted": deleted}


def _before(millis: int | None) -> datetime | None:
    """The moment up to which traces go; one beyond all times means every trace."""
    latest = datetime.max.replace(tzinfo=UTC)
    if millis is None or millis < latest.timestamp() * 1000:
        return moment(millis)
    return latest


def link(platform: Embedded, ask: Link) -> None:
    """Link traces to the run that they come from.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """
    source = {"mlflow.sourceRun": ask.run_id}
    for id in ask.trace_ids:
        changed(platform, id, lambda info: info.setdefault("trace_metadata", {}).update(source))


def link_prompts(platform: Embedded, ask: LinkPrompts) -> None:
    """Note in a trace's tag which versions of prompts it has used, as filters by prompt read it.

    Args:
        platform: The services that answer.
        ask: The request's fields.

    Raises:
        NotFound: There is no such trace.
    """

    def change(info: Info) -> None:
        tags = info.setdefault("tags", {})
        known = from_json(tags.get(LINKED_PROMPTS, "[]"), list[Any])
        new = [{"name": one.name, "version": one.version} for one in ask.prompt_versions]
        tags[LINKED_PROMPTS] = to_text([*known, *(one for one in new if one not in known)])

    changed(platform, ask.trace_id, change)


CALLS = [
    Call(("POST",), "traces/link-prompts", LinkPrompts, "editor", link_prompts),
    Call(("POST",), "traces", Start, "editor", start, ("3.0",)),
    Call(("GET",), "traces/get", Get, "viewer", get),
    Call(("GET",), "traces/batchGet", Batch, "viewer", batch),
    Call(("POST",), "traces/batchGetInfos", Batch, "viewer", batch_infos),
    Call(("POST",), "traces/search", Search, "viewer", search),
    Call(("POST",), "traces/delete-traces", Delete, "editor", delete),
    Call(("POST",), "traces/link-to-run", Link, "editor", link),
    Call(("GET",), "traces/{trace_id}", Get, "viewer", get_info, ("3.0",)),
    Call(("PATCH",), "traces/{trace_id}/tags", Tag, "editor", set_tag),
    Call(("DELETE",), "traces/{trace_id}/tags", Tag, "editor", delete_tag),
]
