"""A trace's facts: which shapes they may have, and what filters read from them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import from_plain
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.tracking.language import Field
from treadle.tracking.trace_contents import Span, assessed, spoken

Info = dict[str, Any]
"""A trace's facts as its client wrote them: trace_id, request_time, state, tags, trace_metadata,
assessments, …
"""
_LONGEST_ID = 200


class _Facts(msgspec.Struct):
    """The fields that are read here; clients may add others."""

    trace_id: str
    request_time: str | None = None
    execution_duration: str | float | None = None
    state: str | None = None
    client_request_id: str | None = None
    tags: dict[str, str] = {}
    trace_metadata: dict[str, str] = {}
    assessments: list[dict[str, Any]] = []
    trace_location: dict[str, Any] = {}


def checked(info: Info) -> Info:
    """Refuse facts that could not be searched once they are stored.

    Args:
        info: The facts as a client sent them.

    Returns:
        The facts, without those that are null.

    Raises:
        Invalid: A field has another shape; the message names it.
    """
    info = {name: value for name, value in info.items() if value is not None}
    facts = from_plain(info, _Facts)
    if not 0 < len(facts.trace_id) <= _LONGEST_ID:
        raise Invalid(f"Field 'trace_id': an id has 1 to {_LONGEST_ID} characters.")
    _moment(facts.request_time)
    milliseconds(facts.execution_duration)
    return info


def started_at(info: Info) -> datetime | None:
    """Return when a trace began, or None where its facts do not say.

    Args:
        info: The facts.

    Raises:
        Invalid: They say no time.
    """
    return _moment(info.get("request_time"))


def value_of(info: Info, field: Field, spans: Callable[[], list[Span]]) -> Any:
    """Return a field of a trace, for filters and orders.

    Args:
        info: The facts.
        field: The field.
        spans: Reads the trace's spans, which few filters ask for.

    Returns:
        A value, or a list where one of several suffices.

    Raises:
        Invalid: A trace has no such field.
    """
    tags, metadata = info.get("tags", {}), info.get("trace_metadata", {})
    if field.kind == "tag":
        return tags.get(field.key)
    if field.kind == "metadata":
        return metadata.get(field.key)
    if field.kind in ("feedback", "expectation"):
        return assessed(info, field.kind, field.key)
    if needs_spans(field):
        return spoken(spans(), "content" if field.kind == "attribute" else field.key)
    began = started_at(info)
    started = None if began is None else to_micros(began) // 1000
    took = milliseconds(info.get("execution_duration"))
    facts: dict[str, Any] = {
        "status": info.get("state"),
        "state": info.get("state"),
        "name": tags.get("mlflow.traceName"),
        "trace_id": info.get("trace_id"),
        "request_id": info.get("trace_id"),
        "client_request_id": info.get("client_request_id"),
        "run_id": metadata.get("mlflow.sourceRun"),
        "timestamp": started,
        "timestamp_ms": started,
        "request_time": started,
        "execution_time": took,
        "execution_time_ms": took,
        "execution_duration": took,
        "prompt": tags.get("mlflow.linkedPrompts"),
        "end_time": None if started is None else started + (took or 0),
        "end_time_ms": None if started is None else started + (took or 0),
    }
    if field.kind != "attribute" or field.key not in facts:
        raise Invalid(f"A trace has no '{field.key}' to search.{did_you_mean(field.key, facts)}")
    return facts[field.key]


def needs_spans(field: Field) -> bool:
    """Whether a trace's spans have to be read to tell a field of it.

    Args:
        field: The field.
    """
    return field.kind == "span" or (field.kind, field.key) == ("attribute", "text")


def _moment(text: str | None) -> datetime | None:
    """A time in ISO 8601; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text) if text else None
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment is not None:
            to_micros(moment)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"Field 'request_time': '{text}' is no time.") from error
    return moment


def milliseconds(duration: str | float | None) -> float | None:
    """Return a duration in milliseconds, or None where there is none.

    Args:
        duration: Seconds, such as ``1.5s``.

    Raises:
        Invalid: It is no number.
    """
    if duration in (None, ""):
        return None
    try:
        return float(str(duration).removesuffix("s")) * 1000
    except ValueError as error:
        message = f"Field 'execution_duration': '{duration}' is no number of seconds."
        raise Invalid(message) from error
