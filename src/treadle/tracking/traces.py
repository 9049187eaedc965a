"""Traces of language-model applications.

What was asked, what each step did, and what people thought of it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from treadle.kernel.clock import Clock, from_micros, to_micros
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.names import ExperimentId, TraceId
from treadle.kernel.operation import query
from treadle.ports.database import Database
from treadle.tracking.language import Field, found_in
from treadle.tracking.tables import trace_spans, traces

Info = dict[str, Any]
"""A trace's facts as its client wrote them: trace_id, request_time, state, tags, trace_metadata,
assessments, …
"""


class Traces:
    """Traces of all experiments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    @query()
    def get(self, id: TraceId) -> dict[str, Any]:
        """The facts of one trace.

        Args:
            id: Id of the trace.

        Raises:
            NotFound: There is no such trace.
        """
        with self._database.read() as connection:
            return _info(connection, id)

    @query()
    def spans(self, id: TraceId) -> list[dict[str, Any]]:
        """The spans of a trace, by their start.

        Args:
            id: Id of the trace.
        """
        wanted = (
            select(trace_spans.c.body)
            .where(trace_spans.c.trace == id)
            .order_by(trace_spans.c.started_at)
        )
        with self._database.read() as connection:
            return [from_json(body, Info) for body in connection.scalars(wanted)]

    @query()
    def find(
        self, *, experiments: list[ExperimentId], filter: str = "", limit: int = 100
    ) -> list[dict[str, Any]]:
        """Facts of the traces of experiments, newest first.

        Args:
            experiments: Numbers of the experiments.
            filter: Condition such as `trace.status = 'OK'`; empty for all.
            limit: The most traces to return.

        Raises:
            Invalid: The filter cannot be read.
        """
        return self._search(experiments=experiments, filter=filter)[: max(0, limit)]

    def _search(
        self, *, experiments: Sequence[int], filter: str = "", orders: Sequence[str] = ()
    ) -> list[Info]:
        wanted = select(traces.c.info).where(traces.c.experiment.in_(list(experiments)))
        with self._database.read() as connection:
            rows = connection.scalars(
                wanted.order_by(traces.c.started_at.desc(), traces.c.id)
            ).all()
        found = [from_json(row, Info) for row in rows]
        return found_in(found, filter, orders, _looked)

    def _moment(self, info: Info) -> datetime:
        given = info.get("request_time")
        try:
            return datetime.fromisoformat(str(given)) if given else self._clock.now()
        except ValueError as error:
            raise Invalid(f"Field 'request_time': '{given}' is no time.") from error


def _info(connection: Connection, id: str) -> Info:
    found = connection.scalar(select(traces.c.info).where(traces.c.id == id))
    if found is None:
        raise NotFound(f"Trace with ID '{id}' not found.")
    return from_json(found, Info)


def _begun(trace: str, experiment: int, spans: list[dict[str, Any]]) -> Info:
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


def _mark_spans(info: Info) -> None:
    """Clients look into this tag for where a trace's spans are."""
    info.setdefault("tags", {})["mlflow.trace.spansLocation"] = "TRACKING_STORE"


def _looked(info: Info, field: Field) -> Any:
    """A field of a trace, for filters."""
    if field.kind == "tag":
        return info.get("tags", {}).get(field.key)
    if field.kind == "metadata":
        return info.get("trace_metadata", {}).get(field.key)
    tags, metadata = info.get("tags", {}), info.get("trace_metadata", {})
    started = (
        to_micros(datetime.fromisoformat(info["request_time"])) // 1000
        if info.get("request_time")
        else None
    )
    duration = str(info.get("execution_duration", "")).removesuffix("s")
    milliseconds = float(duration) * 1000 if duration else None
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
        "execution_time": milliseconds,
        "execution_time_ms": milliseconds,
        "execution_duration": milliseconds,
    }
    if field.kind != "attribute" or field.key not in facts:
        raise Invalid(f"A trace has no '{field.key}' to search.{did_you_mean(field.key, facts)}")
    return facts[field.key]
